//! Execution of system programs such as `wg`, `ip` and `systemctl`.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use edge_common::Root;
use edge_common::command::{Completed, run_within};

/// Returns a command for the program `name` in the first of the system directories that
/// contains it, for example `/usr/sbin`.
pub(crate) fn find(root: &Root, name: &str) -> Command {
    // `$PATH` is not used, because an environment variable must not choose the program.
    let paths = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(|p| PathBuf::from(p).join(name));
    let found = paths.iter().find(|p| root.path(p).exists());
    root.command(found.unwrap_or(&paths[0]))
}

/// Runs `command` for at most `limit` and kills it then. Secrets are passed as `input`
/// on standard input, because every user can read the arguments of a process.
pub(crate) fn run(command: &mut Command, input: &str, limit: Duration) -> Result<Completed> {
    run_within(command, input, limit, Duration::ZERO)
}
