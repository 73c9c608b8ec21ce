//! Requests to the engine's API that may pass without a ticket.

/// Checks a request that passed without a ticket; the error says what is harmful about
/// it. The URI is read as the engine reads it: decoded, cleaned, its version dropped.
pub fn without_ticket(method: &str, uri: &str, body: &[u8]) -> Result<(), String> {
    let (path, query) = uri.split_once('?').unwrap_or((uri, ""));
    let parts = cleaned(path);
    let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
    let harmful = |why: &str| Err(format!("{method} /{}: {why}", parts.join("/")));
    match (method, &parts[..]) {
        ("GET" | "HEAD", [.., "attach", "ws"] | ["session" | "grpc", ..]) => {
            harmful("it opens a stream into something")
        }
        ("GET" | "HEAD", ["debug" | "distribution", ..] | ["images", "search"]) => {
            harmful("it reaches a registry, or the engine's own memory")
        }
        ("GET" | "HEAD", _) => Ok(()),
        ("DELETE", ["containers" | "networks" | "volumes", _] | ["images", _, ..]) => Ok(()),
        ("POST", ["containers", _, "start"]) if !body.is_empty() => {
            harmful("an old interface takes a host configuration here")
        }
        ("POST", ["containers", _, "start"]) if query.contains("checkpoint") => {
            harmful("it restores a checkpoint")
        }
        (
            "POST",
            [
                "containers",
                _,
                "start" | "stop" | "restart" | "kill" | "pause" | "unpause" | "rename" | "wait"
                | "resize" | "attach",
            ]
            | ["exec", _, "start" | "resize"]
            | ["containers" | "images" | "networks" | "build", "prune"],
        ) => Ok(()),
        _ => harmful("it is not among those that only operate what exists"),
    }
}

/// Returns the parts of a path as a Go server routes them.
fn cleaned(path: &str) -> Vec<String> {
    let path = decoded(path);
    let mut parts: Vec<String> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part.into()),
        }
    }
    if parts.first().is_some_and(|first| is_version(first)) {
        parts.remove(0);
    }
    parts
}

fn is_version(part: &str) -> bool {
    let numbers = part.strip_prefix('v').map(|rest| rest.split('.'));
    numbers.is_some_and(|mut numbers| {
        numbers.all(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
    })
}

fn decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let hex = bytes
            .get(at + 1..at + 3)
            .and_then(|h| std::str::from_utf8(h).ok());
        let value = hex.and_then(|h| u8::from_str_radix(h, 16).ok());
        match (bytes[at], value) {
            (b'%', Some(value)) => {
                decoded.push(value);
                at += 3;
            }
            (byte, _) => {
                decoded.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}
