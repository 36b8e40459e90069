//! The backup-agent service; see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    stoker_shared::service::main("backup-agent", backup_agent::run)
}
