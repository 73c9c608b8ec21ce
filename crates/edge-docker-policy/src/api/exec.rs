//! Ticket keys of `exec`, the only request with a ticket whose body docker's client
//! writes, not edge-docker.

use serde_json::Value;

use crate::api::key::Key;
use crate::strict_json;

/// Parameters of `docker exec` that a ticket covers: everything that decides which
/// program runs, and as which user.
pub struct Exec<'a> {
    /// Full ID of the container, never its name.
    pub container: &'a str,
    /// User that runs the command (`-u`); empty for the default of the container.
    pub user: &'a str,
    /// Working directory (`-w`); empty for the default of the container.
    pub workdir: &'a str,
    /// Allocation of a pseudo-terminal (`-t`).
    pub tty: bool,
    /// Environment variables `KEY=VALUE` (`-e`), in the order of the command line.
    pub env: Vec<&'a str>,
    /// Program to run in the container, and its arguments.
    pub command: Vec<&'a str>,
}

impl Exec<'_> {
    /// Returns the key of the ticket that permits exactly this command.
    pub fn key(&self) -> Key {
        // The count separates the variables from the command: a ticket for `-e A=b sh`
        // must not permit the command `A=b sh`.
        let (tty, count) = (self.tty.to_string(), self.env.len().to_string());
        let mut parts = vec![self.container, self.user, self.workdir, &tty, &count];
        parts.extend(&self.env);
        parts.extend(&self.command);
        Key::arguments("exec", &parts)
    }
}

/// Returns the key of the ticket that is needed for an exec request with `body`, written
/// by docker's client; `None` if a field is unknown, has another type, or requests
/// privileges.
///
/// The bytes of the body are not known in advance, because each version of the client
/// writes the body in its own form. The ticket is therefore compared with the content,
/// which is parsed strictly.
pub(crate) fn requested_key(container: &str, body: &[u8]) -> Option<Key> {
    let body = strict_json::parse(body).ok()?;
    let mut exec = Exec {
        container,
        user: "",
        workdir: "",
        tty: false,
        env: Vec::new(),
        command: Vec::new(),
    };
    for (name, value) in body.as_object()? {
        match name.as_str() {
            "Privileged" if value.is_null() || *value == false => {}
            "User" => exec.user = value.as_str()?,
            "WorkingDir" => exec.workdir = value.as_str()?,
            "Tty" => exec.tty = value.as_bool()?,
            "Env" if value.is_null() => {}
            "Env" => exec.env = strings(value)?,
            "Cmd" => exec.command = strings(value)?,
            // Fields for streams and terminal of the caller, which do not change what
            // runs.
            "AttachStdin" | "AttachStdout" | "AttachStderr" | "Detach" | "DetachKeys"
            | "ConsoleSize" => {}
            // Unknown fields are refused, also a known name in another case, which Go
            // would accept for the same field.
            _ => return None,
        }
    }
    Some(exec.key())
}

fn strings(value: &Value) -> Option<Vec<&str>> {
    value.as_array()?.iter().map(Value::as_str).collect()
}
