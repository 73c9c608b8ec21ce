//! Runs of edge-docker, which alone decides what may run.

use std::time::Duration;

use anyhow::{Result, bail};
use edge_common::Root;
use edge_common::command::{Completed, run_within};
use edge_common::contract::exit_code;
use edge_common::contract::path::EDGE_DOCKER;

use crate::registry_login::Login;

/// Time limit of a command that looks.
const LOOK: Duration = Duration::from_secs(120);
/// Time for which a command may end by itself after SIGTERM.
const GRACE: Duration = Duration::from_secs(30);

/// Result of a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// It succeeded.
    Done,
    /// A rule is not met.
    Refused,
    /// The registry does not answer.
    Offline,
    /// The new version of an app failed.
    Failed,
    /// It did not end within its time.
    Late,
    /// Another exit code.
    Broken,
}

/// Returns the outcome of a command by its exit code.
pub(crate) fn outcome(completed: &Completed) -> Outcome {
    let Some(status) = completed.status else {
        return Outcome::Late;
    };
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    match code {
        Some(0) => Outcome::Done,
        Some(exit_code::REFUSED) => Outcome::Refused,
        Some(exit_code::UNVERIFIABLE) => Outcome::Offline,
        Some(exit_code::ROLLED_BACK | exit_code::ROLLBACK_FAILED) => Outcome::Failed,
        _ => Outcome::Broken,
    }
}

/// Runs a command for at most `limit`.
///
/// # Errors
/// edge-docker cannot be started.
pub(crate) fn run(root: &Root, args: &[&str], limit: Duration) -> Result<Completed> {
    run_within(root.command(EDGE_DOCKER).args(args), "", limit, GRACE)
}

/// Runs a command that connects to the registry, with credentials on its standard input.
///
/// # Errors
/// edge-docker cannot be started.
pub(crate) fn run_with_login(
    root: &Root,
    args: &[&str],
    login: Option<&Login>,
    limit: Duration,
) -> Result<Completed> {
    let Some(login) = login else {
        return run(root, args, limit);
    };
    let mut command = root.command(EDGE_DOCKER);
    command
        .args(args)
        .args(["--username", login.username, "--password-stdin"]);
    run_within(&mut command, login.password.expose(), limit, GRACE)
}

/// Runs a command that looks, and returns its standard output.
///
/// # Errors
/// edge-docker cannot be started or does not succeed.
pub(crate) fn look(root: &Root, args: &[&str]) -> Result<String> {
    let completed = run(root, args, LOOK)?;
    if !completed.success() {
        bail!("edge-docker {}: {}", args[0], completed.summary());
    }
    Ok(completed.stdout)
}
