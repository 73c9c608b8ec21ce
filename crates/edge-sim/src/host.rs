//! Lookup of programs, free ports and the cache directory on this machine.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::net::TcpListener;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};

/// Returns the directory of files that are kept between runs, by default
/// `~/.cache/edge-ai`.
pub(crate) fn cache() -> PathBuf {
    let home = std::env::var_os("HOME").map(PathBuf::from);
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    cache
        .unwrap_or_else(|| home.unwrap_or_default().join(".cache"))
        .join("edge-ai")
}

/// Finds a program in /usr/sbin and /usr/bin, then in the Python environment that
/// `scripts/setup` creates, then in the search path.
pub(crate) fn find(program: &str) -> Result<PathBuf> {
    // The search path alone does not suffice: that of a normal user lacks
    // /usr/sbin, where most of the daemons are.
    let directories = [
        PathBuf::from("/usr/sbin"),
        PathBuf::from("/usr/bin"),
        cache().join("venv/bin"),
    ];
    let mut paths = directories.iter().map(|d| d.join(program));
    paths
        .find(|path| path.exists())
        .or_else(|| which::which(program).ok())
        .with_context(|| format!("{program} is missing: run scripts/setup"))
}

/// Returns the path of a program of this workspace, in the build directory of the
/// running program.
pub(crate) fn program(name: &str) -> Result<PathBuf> {
    let path = build_directory()?.join(name);
    let build = "cargo build --workspace --bins";
    ensure!(path.exists(), "{} is missing: {build}", path.display());
    Ok(path)
}

/// Returns the path of an example of this workspace, in the build directory of the
/// running program.
pub(crate) fn example(name: &str) -> Result<PathBuf> {
    let path = build_directory()?.join("examples").join(name);
    let build = "cargo build --workspace --examples";
    ensure!(path.exists(), "{} is missing: {build}", path.display());
    Ok(path)
}

/// Returns the build directory of the running program, for example `target/debug`.
/// Tests are in its subdirectory `deps`, examples in `examples`.
fn build_directory() -> Result<PathBuf> {
    let mut directory = std::env::current_exe().context("finding the running program")?;
    directory.pop();
    if directory.ends_with("deps") || directory.ends_with("examples") {
        directory.pop();
    }
    Ok(directory)
}

/// Returns a port of 127.0.0.1 on which nothing listens.
///
/// The port is below the range from which the kernel takes ports for connections. Ports of
/// that range are given to the tests that run at the same time, before the daemon that the
/// port is for binds it.
pub(crate) fn free_port() -> Result<u16> {
    // A new hasher has random keys.
    let random = || RandomState::new().build_hasher().finish();
    let candidates = (0..1000).map(|_| u16::try_from(10_000 + random() % 20_000));
    let free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    let port = candidates.flatten().find(free);
    port.context("finding a free port")
}
