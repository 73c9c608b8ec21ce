//! Commands of `exec`: the only request with a ticket that docker's client writes.

use serde_json::Value;

use crate::api::key::Key;
use crate::strict_json;

/// Command to run in a container.
pub struct Exec<'a> {
    /// ID of the container.
    pub container: &'a str,
    /// `-u`
    pub user: &'a str,
    /// `-w`
    pub workdir: &'a str,
    /// `-t`
    pub tty: bool,
    /// `-e`, in their order.
    pub env: Vec<&'a str>,
    /// Command and its arguments.
    pub command: Vec<&'a str>,
}

impl Exec<'_> {
    /// Returns the key of the ticket for this command.
    pub fn key(&self) -> Key {
        // The number of variables keeps them apart from the command: `-e A=b sh` must not
        // be worth as much as the command `A=b sh`.
        let (tty, count) = (self.tty.to_string(), self.env.len().to_string());
        let mut parts = vec![self.container, self.user, self.workdir, &tty, &count];
        parts.extend(&self.env);
        parts.extend(&self.command);
        Key::arguments("exec", &parts)
    }
}

/// Returns the key of the ticket that a body of docker's client needs; `None` if a field
/// is unknown, has another type, or requests privileges.
///
/// The bytes of this body cannot be known beforehand, because the client writes it in the
/// form of its version. So its content is compared, and read strictly.
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
            // The caller's streams and terminal: no difference to what runs.
            "AttachStdin" | "AttachStdout" | "AttachStderr" | "Detach" | "DetachKeys"
            | "ConsoleSize" => {}
            // Also a name in another case, which Go would read as the one above.
            _ => return None,
        }
    }
    Some(exec.key())
}

fn strings(value: &Value) -> Option<Vec<&str>> {
    value.as_array()?.iter().map(Value::as_str).collect()
}
