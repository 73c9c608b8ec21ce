//! Rules of the authorization plugin for requests to the engine. Requests that only read,
//! that start, stop, rename or attach to existing containers, or that remove objects are
//! permitted to everybody who can open the engine's socket. All others need a ticket of
//! edge-docker, also those that a later version of the API adds.
//!
//! The plugin does not judge the content of a create request: a second parser can be
//! bypassed by a request that the engine reads differently. See
//! `docs/decisions/0009-ticket-and-policy.md`.

use crate::api::exec;
use crate::api::key::Key;
use crate::api::uri::Uri;

/// Request to the engine's API, in the form in which the authorization plugin receives
/// it.
pub struct ApiRequest<'a> {
    /// HTTP method, for example `POST`.
    pub method: &'a str,
    /// URI as the client sent it, not decoded.
    pub uri: &'a str,
    /// Body as far as the engine forwards it to the plugin: empty if the body is not
    /// JSON, too long, or of unknown length.
    pub body: &'a [u8],
}

/// Decides whether a request is permitted. `take` consumes a ticket for a key and returns
/// whether there was one; it is a parameter because tickets are files, which this crate
/// does not open.
///
/// # Errors
/// Text for the client: the reason of the refusal, or the command to use instead.
pub fn decide(request: &ApiRequest, take: impl FnMut(&Key) -> bool) -> Result<(), String> {
    let Some(uri) = Uri::parse(request.uri) else {
        return Err("malformed request URI".into());
    };
    let free = match request.method {
        "GET" => reads(&uri),
        "HEAD" => matches!(uri.path[..], ["_ping"] | ["containers", _, "archive"]),
        // `operates` requires an empty body: API versions below 1.24 accept a host
        // configuration in the body of `start`. A request of `streams` may have a body,
        // for example the input of the container.
        "POST" => request.body.is_empty() && operates(&uri) || streams(&uri),
        "DELETE" => removes(&uri),
        _ => false,
    };
    if free || has_ticket(request, &uri, take) {
        return Ok(());
    }
    Err(alternative(&uri).into())
}

/// Returns whether a `GET` is on the list of requests that only read.
fn reads(uri: &Uri) -> bool {
    match uri.path[..] {
        ["_ping" | "version" | "info" | "events" | "networks" | "volumes" | "plugins"] => true,
        ["system", "df"] | ["containers" | "images", "json"] | ["images", "get"] => true,
        // With `GET`, `archive` and `export` only copy files out of a container, never
        // into it.
        ["containers", _, last] => matches!(
            last,
            "json" | "logs" | "stats" | "top" | "changes" | "archive" | "export"
        ),
        ["exec", _, "json"] | ["plugins", _, "json"] | ["networks" | "volumes", _] => true,
        // `docker inspect NAME` queries every type of object that has a name.
        ["services" | "nodes" | "tasks" | "secrets" | "configs", _] => true,
        ["images", .., last] if uri.path.len() > 2 => matches!(last, "json" | "history" | "get"),
        _ => false,
    }
}

/// Returns whether a `POST` starts, stops, pauses, signals or renames existing
/// containers, or prunes unused objects.
fn operates(uri: &Uri) -> bool {
    match uri.path[..] {
        ["containers", _, verb] => match verb {
            "start" | "pause" | "unpause" => uri.plain_query(&["detachKeys"]),
            "stop" | "restart" => uri.plain_query(&["t", "signal"]),
            "kill" => uri.plain_query(&["signal"]),
            "rename" => uri.plain_query(&["name"]),
            _ => false,
        },
        [what, "prune"] => {
            // `volumes` is not listed: one request would delete the data of all volumes
            // that no container uses any more.
            let known = matches!(what, "containers" | "images" | "networks" | "build");
            let options = ["filters", "all", "keep-storage"];
            known && uri.decoded(&options).is_some()
        }
        _ => false,
    }
}

/// Returns whether a `POST` waits for an existing container, or attaches to or resizes
/// its streams, or those of an authorized exec.
fn streams(uri: &Uri) -> bool {
    match uri.path[..] {
        ["containers", _, "wait"] => uri.plain_query(&["condition"]),
        ["containers" | "exec", _, "resize"] => uri.plain_query(&["h", "w"]),
        ["containers", _, "attach"] => uri
            .decoded(&["detachKeys", "logs", "stream", "stdin", "stdout", "stderr"])
            .is_some(),
        // The command was already authorized by a ticket when the exec was created.
        ["exec", _, "start"] => uri.query.is_empty(),
        _ => false,
    }
}

/// Returns whether a `DELETE` removes a container, an image, a network or a volume. A
/// removal cannot add a permission.
fn removes(uri: &Uri) -> bool {
    match uri.path[..] {
        ["containers", _] => uri.plain_query(&["v", "force", "link"]),
        ["images", ..] if uri.path.len() > 1 => uri.plain_query(&["force", "noprune"]),
        ["networks" | "volumes", _] => uri.plain_query(&["force"]),
        _ => false,
    }
}

/// Consumes the ticket that permits the request, and returns whether there was one. An
/// exec request is compared by its content, every other by its bytes.
fn has_ticket(request: &ApiRequest, uri: &Uri, mut take: impl FnMut(&Key) -> bool) -> bool {
    let exec = match uri.path[..] {
        ["containers", id, "exec"] if request.method == "POST" && uri.query.is_empty() => {
            exec::requested_key(id, request.body)
        }
        _ => None,
    };
    // Requests that edge-docker itself sends have to match byte by byte, so that it does
    // not matter whether the engine parses them differently.
    let whole = || Key::request(request.method, request.uri, request.body);
    exec.is_some_and(|key| take(&key)) || take(&whole())
}

/// Returns the command to use instead of a refused request. Docker's client prints this
/// text to its user.
fn alternative(uri: &Uri) -> &'static str {
    match uri.path[..] {
        ["containers", "create"] => {
            "only edge-docker creates containers: type edge-docker run, or edge-docker create"
        }
        ["containers", _, "exec"] => "type edge-docker exec; --privileged is refused",
        ["containers", _, "archive"] => {
            "files get into a container through its app's directory below /data"
        }
        ["containers", _, "update"] => "create it again: edge-docker rm, then edge-docker run",
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
        ] => "this device has no plugins, swarms, or user-defined networks and volumes",
        _ => "the request is not on the list of those that pass; see edge-docker --help",
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;
    use crate::api::exec::Exec;

    /// Tickets in memory, each valid once like the files of edge-docker.
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
    fn reading_operating_and_removing_pass() {
        let tickets = Tickets::default();
        for line in include_str!("../../../edge-docker/tests/corpus/authz-free.txt").lines() {
            let (method, uri) = line.split_once(' ').unwrap();
            assert_eq!(tickets.decide(method, uri, ""), Ok(()), "{line}");
            // Old versions of the API accept more parameters.
            if method == "POST" {
                let old = uri.replace("/v1.41/", "/v1.23/");
                assert!(tickets.decide(method, &old, "").is_err(), "{old}");
            }
        }
    }

    #[test]
    fn other_requests_are_refused_with_an_alternative() {
        let tickets = Tickets::default();
        let mut count = 0;
        for line in include_str!("../../../edge-docker/tests/corpus/authz-refused.txt").lines() {
            let Some((expected, request)) =
                line.split_once(" | ").filter(|(e, _)| !e.starts_with('#'))
            else {
                continue;
            };
            let mut parts = request.splitn(3, ' ');
            let (method, uri) = (parts.next().unwrap(), parts.next().unwrap());
            let refused = tickets.decide(method, uri, parts.next().unwrap_or_default());
            assert!(
                refused.clone().is_err_and(|r| r.contains(expected)),
                "{line}: {refused:?}"
            );
            count += 1;
        }
        assert!(count > 60);
    }

    #[test]
    fn a_create_request_passes_byte_for_byte_and_once() {
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
    fn an_exec_passes_with_the_authorized_arguments_only() {
        let tickets = Tickets::default();
        let exec = Exec {
            container: "c0",
            user: "",
            workdir: "",
            tty: true,
            env: vec!["A=b"],
            command: vec!["sh", "-c", "id"],
        };
        let authorized = r#"{"User":"","Privileged":false,"Tty":true,"AttachStdin":true,"Env":["A=b"],"Cmd":["sh","-c","id"]}"#;
        let uri = "/v1.41/containers/c0/exec";
        assert!(
            tickets.decide("POST", uri, authorized).is_err(),
            "no ticket"
        );
        tickets.leave(&exec.key());
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
            let body = authorized.replacen(from, to, 1);
            assert_ne!(body, authorized);
            assert!(tickets.decide("POST", uri, &body).is_err(), "{body}");
        }
        assert!(
            tickets
                .decide("POST", "/v1.41/containers/c1/exec", authorized)
                .is_err()
        );
        assert_eq!(tickets.decide("POST", uri, authorized), Ok(()));
        assert!(tickets.decide("POST", uri, authorized).is_err(), "replayed");
    }
}
