//! The bucket-scanner service; see the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    stoker_shared::service::main("bucket-scanner", bucket_scanner::run)
}
