//! The reindex-driver service; see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    stoker_shared::service::main("reindex-driver", reindex_driver::run)
}
