//! Docker's own client, which carries out what edge-docker does not do itself.

use std::process::Command;

use edge_common::Root;
use edge_common::contract::path::ENGINE_SOCKET;

/// Returns the client with nothing of the caller's surroundings: no variable, no
/// configuration directory, no plugin, any of which could change what an allowed
/// command does.
pub(crate) fn docker(root: &Root) -> Command {
    let mut command = root.command("/usr/bin/docker");
    command
        .env_clear()
        // The client starts helpers by name, which come from the read-only root only.
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("HOME", "/nonexistent");
    if let Some(term) = std::env::var_os("TERM") {
        command.env("TERM", term);
    }
    // Named outright: no context decides, and a test root has a socket of its own.
    let host = format!("unix://{}", root.path(ENGINE_SOCKET).display());
    command.args(["--config", "/nonexistent", "--host", &host]);
    command
}
