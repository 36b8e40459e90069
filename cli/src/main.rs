//! The `stoker` command; see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    stoker::main()
}
