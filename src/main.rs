//! The command line: thin, every subcommand a file in `cli`.

// The command line alone reads the environment and the clock of the machine, and prints.
#![allow(clippy::disallowed_methods, clippy::print_stdout, clippy::print_stderr)]

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
