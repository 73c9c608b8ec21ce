//! Tests of `infra/`: pytest in the Python environment of `scripts/setup`.

use anyhow::{Context, Result};

use crate::shell;

/// Runs them all; false if one fails.
pub(crate) fn run() -> Result<bool> {
    let mut command = shell::python_tool("python")?;
    // Two at a time, each file by one: its tests share what it starts.
    command.args(["-m", "pytest", "-q", "-p", "no:cacheprovider"]);
    command.args(["-n", "2", "--dist", "loadfile", "infra/tests"]);
    let status = command.status().context("running pytest")?;
    Ok(status.success())
}
