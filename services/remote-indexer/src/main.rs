//! The remote-indexer service; see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    stoker_shared::service::main("remote-indexer", remote_indexer::run)
}
