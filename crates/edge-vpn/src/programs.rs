//! Programs of the image that edge-vpn runs.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use edge_common::Root;
use edge_common::command::{Completed, run_within};

/// Returns a command for the program `name`, in whichever directory the image has it.
pub(crate) fn find(root: &Root, name: &str) -> Command {
    // Not $PATH: an environment must not choose the program.
    let paths = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(|p| PathBuf::from(p).join(name));
    let found = paths.iter().find(|p| root.path(p).exists());
    root.command(found.unwrap_or(&paths[0]))
}

/// Runs `command` for at most `limit`, after which it is killed. Secrets are passed as
/// `input`, since every user can read the arguments of a process.
pub(crate) fn run(command: &mut Command, input: &str, limit: Duration) -> Result<Completed> {
    run_within(command, input, limit, Duration::ZERO)
}
