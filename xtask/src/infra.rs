//! Tests of the Terraform code and scripts in `infra/`, which pytest runs in the Python
//! environment of `scripts/setup`.

use anyhow::{Context, Result};

use crate::shell;

/// Runs all tests of `infra/tests`; returns false if any fails.
pub(crate) fn run() -> Result<bool> {
    let mut command = shell::python_tool("python")?;
    // Two workers run in parallel. Each test file is run by a single worker, since the
    // tests of a file share the servers that they start.
    command.args(["-m", "pytest", "-q", "-p", "no:cacheprovider"]);
    command.args(["-n", "2", "--dist", "loadfile", "infra/tests"]);
    // pytest keeps the directories of its last runs, and a parser of checkov its grammar,
    // in the temporary directory: in one of their own they are removed with it.
    let temporary = tempfile::tempdir()?;
    command.env("TMPDIR", temporary.path());
    let status = command.status().context("running pytest")?;
    Ok(status.success())
}
