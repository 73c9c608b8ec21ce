//! Docker's own client, which carries out the commands that edge-docker does not
//! implement.

use std::process::Command;

use edge_common::Root;
use edge_common::contract::path::ENGINE_SOCKET;

/// Returns a command for docker's client without the caller's environment (except
/// `TERM`), configuration directory and plugins, each of which could change the effect of
/// a permitted command.
pub(crate) fn docker(root: &Root) -> Command {
    let mut command = root.command("/usr/bin/docker");
    command
        .env_clear()
        // The client starts helper programs by name. These directories are in the
        // read-only root.
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("HOME", "/nonexistent");
    if let Some(term) = std::env::var_os("TERM") {
        command.env("TERM", term);
    }
    // With an explicit host no docker context is used, and a test root can have its own
    // socket.
    let host = format!("unix://{}", root.path(ENGINE_SOCKET).display());
    command.args(["--config", "/nonexistent", "--host", &host]);
    command
}
