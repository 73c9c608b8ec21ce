//! `help` and `--version`.

use anyhow::Result;
use edge_docker_policy::cli::commands::Command;
use edge_docker_policy::cli::help;

/// Prints the page of the command that is named, or of all commands.
pub(super) fn print(args: &[&str]) -> Result<()> {
    match args {
        [] => print!("{}", help::page()),
        _ => print_command(Command::find(args)?.0),
    }
    Ok(())
}

/// Prints the page of a command.
pub(super) fn print_command(command: Command) {
    print!("{}", help::command_page(command));
}

/// Prints the version.
pub(super) fn print_version() {
    println!("edge-docker {}", env!("CARGO_PKG_VERSION"));
}
