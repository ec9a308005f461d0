//! The program: everything is in the library, so that tests and benches use what users run.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    fedgate::cli::main()
}
