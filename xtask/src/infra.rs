//! The tests of `infra/`: pytest in the Python environment of `scripts/setup`.

use std::env;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};

use crate::shell;

/// Runs them all; false if one did not hold.
///
/// # Errors
/// The Python environment is missing.
pub fn run() -> Result<bool> {
    let cache = match env::var_os("XDG_CACHE_HOME") {
        Some(cache) => PathBuf::from(cache),
        None => PathBuf::from(env::var_os("HOME").context("finding the cache")?).join(".cache"),
    };
    let python = cache.join("edge-ai/venv/bin/python");
    if !python.exists() {
        bail!("{} is missing: run scripts/setup", python.display());
    }
    let mut command = shell::command(python);
    // Two at a time, each file by one: its tests share what it starts.
    command.args(["-m", "pytest", "-q", "-p", "no:cacheprovider"]);
    command.args(["-n", "2", "--dist", "loadfile", "infra/tests"]);
    let status = command.status().context("running pytest")?;
    Ok(status.success())
}
