//! `help` and `--version`: output of the help pages and of the version.

use anyhow::Result;
use edge_docker_policy::cli::commands::Command;
use edge_docker_policy::cli::{help, levels};

/// Prints the help page of the command in `args`, or the overview of all commands if
/// `args` is empty.
pub(super) fn print(args: &[&str]) -> Result<()> {
    match args {
        [] => print!("{}", help::page()),
        ["levels"] => print!("{}", levels::page()),
        _ => print_command(Command::find(args)?.0),
    }
    Ok(())
}

/// Prints the help page of one command, for `help COMMAND` and `COMMAND --help`.
pub(super) fn print_command(command: Command) {
    print!("{}", help::command_page(command));
}

/// Prints `edge-docker` and the version of this package.
pub(super) fn print_version() {
    println!("edge-docker {}", env!("CARGO_PKG_VERSION"));
}
