//! `cargo deny`, and the number of crates in the program that runs as root.

use anyhow::Result;

use super::closure;
use crate::shell;

/// Crates of the program that decides for root, itself included.
const MAX_EDGE_DOCKER_CRATES: usize = 115;

/// Compares dependencies with `deny.toml`, without a network; false if one does not fit.
pub(crate) fn deny() -> Result<bool> {
    let denied = !cargo_deny(&["bans", "licenses", "sources"])?;
    let count = closure("edge-docker", "normal")?.len();
    println!("edge-docker links {count} crates (limit {MAX_EDGE_DOCKER_CRATES})");
    Ok(!denied && count <= MAX_EDGE_DOCKER_CRATES)
}

/// Asks the advisory database, which is fetched, for known vulnerabilities.
pub(crate) fn advisories() -> Result<bool> {
    cargo_deny(&["advisories"])
}

fn cargo_deny(checks: &[&str]) -> Result<bool> {
    let mut command = shell::python_tool("cargo-deny")?;
    command.args(["--locked", "check"]).args(checks);
    Ok(command.status()?.success())
}
