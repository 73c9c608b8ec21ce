//! Checks of the dependencies with `cargo deny`, and a limit on the number of crates in
//! edge-docker, which runs as root.

use anyhow::Result;

use super::closure;
use crate::shell;

/// Limit on the number of crates that edge-docker links, including edge-docker itself.
const MAX_EDGE_DOCKER_CRATES: usize = 115;

/// Checks bans, licences and sources of all dependencies by `deny.toml`, without network
/// access; returns false if there is a violation or edge-docker links too many crates.
pub(crate) fn deny() -> Result<bool> {
    let denied = !cargo_deny(&["bans", "licenses", "sources"])?;
    let count = closure("edge-docker", "normal")?.len();
    println!("edge-docker links {count} crates (limit {MAX_EDGE_DOCKER_CRATES})");
    Ok(!denied && count <= MAX_EDGE_DOCKER_CRATES)
}

/// Checks the dependencies for known vulnerabilities, after downloading the advisory
/// database.
pub(crate) fn advisories() -> Result<bool> {
    cargo_deny(&["advisories"])
}

fn cargo_deny(checks: &[&str]) -> Result<bool> {
    let mut command = shell::python_tool("cargo-deny")?;
    command.args(["--locked", "check"]).args(checks);
    Ok(command.status()?.success())
}
