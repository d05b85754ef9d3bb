//! Parses the command line, runs the verb, and ends with its exit code.

fn main() -> std::process::ExitCode {
    driftless::cli::main(std::env::args_os()).into()
}
