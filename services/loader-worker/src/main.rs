//! The loader-worker service; see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    stoker_shared::service::main("loader-worker", loader_worker::run)
}
