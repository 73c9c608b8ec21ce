//! What the engine may be asked: by anyone who reaches its socket, or only with
//! a ticket of edge-docker's. What is not on a list needs a ticket.

use serde_json::Value;

use crate::api::key::Key;
use crate::api::uri::Uri;
use crate::strict_json;

/// A request as the engine shows it.
pub struct ApiRequest<'a> {
    /// `POST`, …
    pub method: &'a str,
    /// As it was sent.
    pub uri: &'a str,
    /// What the engine shows of the body: nothing of one that is not JSON, too
    /// long, or of unknown length.
    pub body: &'a [u8],
}

/// Decides on a request; `take` uses up a ticket for a key and returns whether there
/// was one.
///
/// # Errors
/// The command to use instead.
pub fn decide(asked: &ApiRequest, take: impl FnMut(&Key) -> bool) -> Result<(), String> {
    let Some(uri) = Uri::parse(asked.uri) else {
        return Err("the address is not of the form that is taken".into());
    };
    let free = match asked.method {
        "GET" => reads(&uri),
        "HEAD" => matches!(uri.path[..], ["_ping"] | ["containers", _, "archive"]),
        "POST" => asked.body.is_empty() && moves(&uri) || speaks(&uri),
        "DELETE" => removes(&uri),
        _ => false,
    };
    if free || with_ticket(asked, &uri, take) {
        return Ok(());
    }
    Err(instead(&uri))
}

/// What only looks.
fn reads(uri: &Uri) -> bool {
    match uri.path[..] {
        ["_ping" | "version" | "info" | "events" | "networks" | "volumes" | "plugins"] => true,
        ["system", "df"] | ["containers" | "images", "json"] | ["images", "get"] => true,
        ["containers", _, last] => matches!(
            last,
            "json" | "logs" | "stats" | "top" | "changes" | "archive" | "export"
        ),
        ["exec", _, "json"] | ["plugins", _, "json"] | ["networks" | "volumes", _] => true,
        // `docker inspect NAME` asks for all that a name could be.
        ["services" | "nodes" | "tasks" | "secrets" | "configs", _] => true,
        ["images", .., last] if uri.path.len() > 2 => matches!(last, "json" | "history" | "get"),
        _ => false,
    }
}

/// What moves containers that are there, and takes no body.
fn moves(uri: &Uri) -> bool {
    match uri.path[..] {
        ["containers", _, verb] => match verb {
            "start" | "pause" | "unpause" => uri.plain_query(&["detachKeys"]),
            "stop" | "restart" => uri.plain_query(&["t", "signal"]),
            "kill" => uri.plain_query(&["signal"]),
            "rename" => uri.plain_query(&["name"]),
            _ => false,
        },
        [what, "prune"] => {
            let known = matches!(what, "containers" | "images" | "networks" | "build");
            let options = ["filters", "all", "keep-storage"];
            known && uri.decoded(&options).is_some()
        }
        _ => false,
    }
}

/// Streams of what is there.
fn speaks(uri: &Uri) -> bool {
    match uri.path[..] {
        ["containers", _, "wait"] => uri.plain_query(&["condition"]),
        ["containers" | "exec", _, "resize"] => uri.plain_query(&["h", "w"]),
        ["containers", _, "attach"] => uri
            .decoded(&["detachKeys", "logs", "stream", "stdin", "stdout", "stderr"])
            .is_some(),
        // What will run was said, with a ticket, when the exec was made.
        ["exec", _, "start"] => uri.query.is_empty(),
        _ => false,
    }
}

fn removes(uri: &Uri) -> bool {
    match uri.path[..] {
        ["containers", _] => uri.plain_query(&["v", "force", "link"]),
        ["images", ..] if uri.path.len() > 1 => uri.plain_query(&["force", "noprune"]),
        ["networks" | "volumes", _] => uri.plain_query(&["force"]),
        _ => false,
    }
}

fn with_ticket(asked: &ApiRequest, uri: &Uri, mut take: impl FnMut(&Key) -> bool) -> bool {
    let key = match uri.path[..] {
        _ if asked.method != "POST" => None,
        ["containers", id, "exec"] if uri.query.is_empty() => exec_key(id, asked.body),
        _ => None,
    };
    // What edge-docker asks for itself is held to every byte.
    let whole = || Key::request(asked.method, asked.uri, asked.body);
    key.is_some_and(|key| take(&key)) || take(&whole())
}

/// What a ticket for `exec` names.
pub struct Exec<'a> {
    /// Id of the container.
    pub container: &'a str,
    /// `-u`
    pub user: &'a str,
    /// `-w`
    pub workdir: &'a str,
    /// `-t`
    pub tty: bool,
    /// `-e`, in their order.
    pub env: Vec<&'a str>,
    /// The command.
    pub command: Vec<&'a str>,
}

/// The ticket for `docker exec` with these words.
pub fn exec(words: &Exec) -> Key {
    let (tty, count) = (words.tty.to_string(), words.env.len().to_string());
    let mut parts = vec![words.container, words.user, words.workdir, &tty, &count];
    parts.extend(&words.env);
    parts.extend(&words.command);
    Key::arguments("exec", &parts)
}

/// What docker's client says of an exec, read in the one way that it can be.
fn exec_key(container: &str, body: &[u8]) -> Option<Key> {
    let body = strict_json::parse(body).ok()?;
    let none = Value::Null;
    let mut words = Exec {
        container,
        user: "",
        workdir: "",
        tty: false,
        env: Vec::new(),
        command: Vec::new(),
    };
    for (name, value) in body.as_object()? {
        match name.as_str() {
            "Privileged" if *value == false || *value == none => {}
            "User" => words.user = value.as_str()?,
            "WorkingDir" => words.workdir = value.as_str()?,
            "Tty" => words.tty = value.as_bool()?,
            "Env" if *value == none => {}
            "Env" => words.env = strings(value)?,
            "Cmd" => words.command = strings(value)?,
            "AttachStdin" | "AttachStdout" | "AttachStderr" | "Detach" | "DetachKeys"
            | "ConsoleSize" => {}
            _ => return None,
        }
    }
    Some(exec(&words))
}

fn strings(value: &Value) -> Option<Vec<&str>> {
    value.as_array()?.iter().map(Value::as_str).collect()
}

/// What to type instead.
fn instead(uri: &Uri) -> String {
    match uri.path[..] {
        ["containers", "create"] => {
            "containers are made by the gate: type edge-docker run, or edge-docker create"
        }
        ["containers", _, "exec"] => "type edge-docker exec; --privileged is not taken",
        ["containers", _, "archive"] => {
            "files get into a container through its app's directory below /data"
        }
        ["containers", _, "update"] => "make it anew: edge-docker rm, then edge-docker run",
        ["build" | "session" | "grpc"] => "type edge-docker build -t sandbox/APP - < context.tar",
        ["commit"] | ["images", "create" | "load"] => {
            "images come by edge-docker pull, build or load"
        }
        ["images", .., "push"] => "type edge-docker push",
        ["images", .., "tag"] => "type edge-docker tag; names are sandbox/APP",
        ["auth"] => "type edge-docker login",
        [
            "plugins" | "swarm" | "nodes" | "services" | "tasks" | "secrets" | "configs"
            | "networks" | "volumes",
            ..,
        ] => "this device has no plugins, swarms, or networks and volumes of one's own",
        _ => "it is not on the list of what the engine may be asked; see edge-docker --help",
    }
    .into()
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    /// Tickets that were left, as edge-docker keeps them: each is good once.
    #[derive(Default)]
    struct Tickets(RefCell<Vec<Key>>);

    impl Tickets {
        fn decide(&self, method: &str, uri: &str, body: &str) -> Result<(), String> {
            let body = body.as_bytes();
            decide(&ApiRequest { method, uri, body }, |key| self.take(key))
        }

        fn leave(&self, key: &Key) {
            self.0.borrow_mut().push(key.clone());
        }

        fn take(&self, key: &Key) -> bool {
            let mut tickets = self.0.borrow_mut();
            let found = tickets.iter().position(|ticket| ticket == key);
            found.map(|at| tickets.swap_remove(at)).is_some()
        }
    }

    #[test]
    fn looking_moving_and_removing_pass() {
        let tickets = Tickets::default();
        for line in include_str!("../../../edge-docker/tests/corpus/authz-free.txt").lines() {
            let (method, uri) = line.split_once(' ').unwrap();
            assert_eq!(tickets.decide(method, uri, ""), Ok(()), "{line}");
            // Old interfaces take more than they should.
            if method == "POST" {
                let old = uri.replace("/v1.41/", "/v1.23/");
                assert!(tickets.decide(method, &old, "").is_err(), "{old}");
            }
        }
    }

    #[test]
    fn all_else_is_refused_and_says_what_to_type() {
        let tickets = Tickets::default();
        let mut count = 0;
        for line in include_str!("../../../edge-docker/tests/corpus/authz-refused.txt").lines() {
            let Some((said, request)) = line.split_once(" | ").filter(|(s, _)| !s.starts_with('#'))
            else {
                continue;
            };
            let mut words = request.splitn(3, ' ');
            let (method, uri) = (words.next().unwrap(), words.next().unwrap());
            let refused = tickets.decide(method, uri, words.next().unwrap_or_default());
            assert!(
                refused.clone().is_err_and(|r| r.contains(said)),
                "{line}: {refused:?}"
            );
            count += 1;
        }
        assert!(count > 60);
    }

    #[test]
    fn a_create_passes_byte_for_byte_and_once() {
        let tickets = Tickets::default();
        let (uri, body) = (
            "/v1.41/containers/create?name=a",
            r#"{"HostConfig":{"Privileged":false}}"#,
        );
        let key = Key::request("POST", uri, body.as_bytes());
        for (uri, body) in [
            (
                uri,
                r#"{"HostConfig":{"Privileged":false},"hostconfig":{"privileged":true}}"#,
            ),
            (uri, r#"{"HostConfig":{"Privileged":false}} "#),
            (uri, ""),
            ("/v1.41/containers/create?name=b", body),
            ("/v1.41/containers/create", body),
            ("/v1.40/containers/create?name=a", body),
            ("/v1.41/containers/%63reate?name=a", body),
            ("/v1.41//containers/create?name=a", body),
        ] {
            tickets.leave(&key);
            assert!(tickets.decide("POST", uri, body).is_err(), "{uri} {body}");
            assert!(tickets.take(&key), "{uri} {body}");
        }
        tickets.leave(&key);
        assert_eq!(tickets.decide("POST", uri, body), Ok(()));
        assert!(tickets.decide("POST", uri, body).is_err(), "replayed");
    }

    #[test]
    fn an_exec_passes_with_the_words_that_were_checked() {
        let tickets = Tickets::default();
        let words = Exec {
            container: "c0",
            user: "",
            workdir: "",
            tty: true,
            env: vec!["A=b"],
            command: vec!["sh", "-c", "id"],
        };
        let good = r#"{"User":"","Privileged":false,"Tty":true,"AttachStdin":true,"Env":["A=b"],"Cmd":["sh","-c","id"]}"#;
        let uri = "/v1.41/containers/c0/exec";
        assert!(tickets.decide("POST", uri, good).is_err(), "no ticket");
        tickets.leave(&exec(&words));
        for (from, to) in [
            ("\"Privileged\":false", "\"Privileged\":true"),
            (
                "\"Privileged\":false",
                "\"Privileged\":false,\"privileged\":true",
            ),
            (
                "\"Privileged\":false",
                "\"Privileged\":false,\"Privileged\":true",
            ),
            ("\"User\":\"\"", "\"User\":\"root\""),
            ("\"User\":\"\"", "\"New\":\"\""),
            ("[\"A=b\"]", "[]"),
            ("\"id\"", "\"ls\""),
            ("true", "false"),
            ("{", ""),
        ] {
            let body = good.replacen(from, to, 1);
            assert_ne!(body, good);
            assert!(tickets.decide("POST", uri, &body).is_err(), "{body}");
        }
        assert!(
            tickets
                .decide("POST", "/v1.41/containers/c1/exec", good)
                .is_err()
        );
        assert_eq!(tickets.decide("POST", uri, good), Ok(()));
        assert!(tickets.decide("POST", uri, good).is_err(), "replayed");
    }
}
