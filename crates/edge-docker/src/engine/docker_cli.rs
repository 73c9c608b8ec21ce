//! Docker's own client, which carries out the commands that edge-docker does not
//! implement.

use std::process::Command;

use edge_common::Root;
use edge_common::contract::path::ENGINE_SOCKET;
use rustix::process::{Resource, Rlimit, setrlimit};

/// Limit of the client's memory in bytes. The client runs as root, outside of the limits
/// of apps, and keeps in memory what a template of `--format` produces.
const MAX_CLIENT_BYTES: u64 = 1 << 30;

/// Limits the memory of this process, which is to become docker's client, and of the
/// client as its child process. Failure is ignored: the templates are checked too.
pub(crate) fn limit_memory() {
    let limit = Rlimit {
        current: Some(MAX_CLIENT_BYTES),
        maximum: Some(MAX_CLIENT_BYTES),
    };
    let _ = setrlimit(Resource::Data, limit);
}

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
