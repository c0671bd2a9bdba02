//! The program: parses the command line, runs it, and turns its outcome into an exit code.

use std::process::ExitCode;

fn main() -> ExitCode {
    modelpool::cli::main()
}
