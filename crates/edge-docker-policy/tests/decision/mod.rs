//! Decisions on command lines, stored containers and requests to the engine, each compared
//! with the independent checker. Shared by the fuzz targets, the test of the corpora and
//! the example `verdicts` of edge-docker.
#![allow(dead_code, clippy::unwrap_used, missing_docs)]

#[path = "../checker/mod.rs"]
pub mod checker;
pub mod edits;

use std::path::{Path, PathBuf};

use checker::board;
use edge_docker_policy::api::key::Key;
use edge_docker_policy::api::rules::{self, ApiRequest};
use edge_docker_policy::cli::commands::Command;
use edge_docker_policy::cli::request::{self, Request};
use edge_docker_policy::decide;
use edge_docker_policy::grants::Table;
use edge_docker_policy::identity::{Identity, sandbox_app};
use edge_docker_policy::mounts::{CloneRecord, is_plain, path_below};
use edge_docker_policy::stored::container::{Stored, is_hex};
use edge_docker_policy::stored::{self, Facts};
use edge_docker_policy::strict_json;
use serde_json::Value;

/// Key of the mount clones of every plan.
const KEY: &str = "0123456789abcdef0123456789abcdef";
/// ID of every image.
const IMAGE_ID: &str = "sha256:1111111111111111111111111111111111111111111111111111111111111111";
/// Digest of every signed manifest.
const DIGEST: &str = "sha256:2222222222222222222222222222222222222222222222222222222222222222";
/// ID of a stored container whose input names none.
const CONTAINER: &str = "3333333333333333333333333333333333333333333333333333333333333333";

/// Decision, `Ok` with what it leads to.
pub type Decision = Result<String, String>;

/// Decides a command line as an input of a fuzz target: an argument a line, without `run`
/// if it names no command.
pub fn line_input(text: &str) -> Decision {
    let args: Vec<&str> = text.split('\n').collect();
    match Command::find(&args) {
        Ok(_) => line(&args),
        Err(_) => line(&[&["run"], &args[..]].concat()),
    }
}

/// Decides a stored container as an input of a fuzz target: a JSON object.
pub fn stored_input(text: &str) -> Decision {
    let container = strict_json::parse(text.as_bytes());
    stored_container(&container.map_err(|e| format!("{e:#}"))?)
}

/// Decides a request to the engine as an input of a fuzz target: method and URI, and the
/// body below this line.
pub fn request_input(text: &str) -> Decision {
    let (head, body) = text.split_once('\n').unwrap_or((text, ""));
    let (method, uri) = head.split_once(' ').ok_or("no URI")?;
    api_request(method, uri, body.as_bytes())
}

/// Decides a command line as far as it needs no engine, registry or file.
pub fn line(args: &[&str]) -> Decision {
    let (command, rest) = Command::find(args).map_err(text)?;
    let parsed = command.entry().parse(rest).map_err(text)?;
    match command {
        Command::Run | Command::Create => run(request::parse(&parsed.arguments).map_err(text)?),
        _ => Ok(format!("{:?} {:?}", parsed.options, parsed.arguments)),
    }
}

fn text(error: impl std::fmt::Display) -> String {
    format!("{error:#}")
}

fn run(request: Request) -> Decision {
    let identity = identity(&request.image)?;
    let directory = identity.directory();
    for file in &request.env_files {
        path_below(&directory, &file.path).ok_or("an env file of another directory")?;
    }
    let table = Table::parse(board::table().to_string().as_bytes()).unwrap();
    let granted = table.granted(&identity);
    let plan = decide::decide(request, &identity, &granted, IMAGE_ID, KEY);
    let plan = plan.map_err(|e| format!("{e:#}"))?;
    let body = serde_json::to_string(&plan.body).unwrap();
    let verdict = checker::create_body(body.as_bytes(), |app, sandbox| {
        assert_eq!((app, sandbox), (identity.app(), is_sandbox(&identity)));
        IMAGE_ID.into()
    });
    assert_eq!(verdict, Ok(()), "{body}");
    for below in &plan.below {
        assert!(below.is_empty() || is_plain(below), "{below:?}");
        assert!(!below.split('/').any(|part| part == ".."), "{below:?}");
    }
    Ok(body)
}

fn is_sandbox(identity: &Identity) -> bool {
    matches!(identity, Identity::Sandbox { .. })
}

/// Returns the identity of an image: an app of the board, or a sandbox.
fn identity(image: &str) -> Result<Identity, String> {
    if let Some(app) = sandbox_app(image) {
        return Ok(Identity::Sandbox { app: app.into() });
    }
    let tag = image.strip_prefix("r.io/edge-ai:");
    let app = tag.and_then(|tag| tag.strip_suffix("-v1"));
    let known = board::GRANTS.iter().any(|(name, _)| Some(*name) == app);
    match app.filter(|_| known) {
        Some(app) => Ok(signed(app)),
        None => Err("no image of an app".into()),
    }
}

fn signed(app: &str) -> Identity {
    let grants = board::GRANTS.iter().find(|(name, _)| *name == app);
    let grants = grants.map_or(&[][..], |(_, grants)| grants);
    Identity::Signed {
        app: app.into(),
        version: "v1".into(),
        grants: grants.iter().map(ToString::to_string).collect(),
        root: Vec::new(),
        digest: DIGEST.parse().unwrap(),
    }
}

/// Decides a request to the engine, without a ticket and with the one for its bytes.
pub fn api_request(method: &str, uri: &str, body: &[u8]) -> Decision {
    let request = ApiRequest { method, uri, body };
    let decision = rules::decide(&request, |_| false);
    if decision.is_ok() {
        let verdict = checker::api::without_ticket(method, uri, body);
        assert_eq!(verdict, Ok(()), "{method} {uri}");
        // What needs no ticket takes none from another request.
        rules::decide(&request, |_| panic!("a ticket is taken")).unwrap();
        return Ok("without a ticket".into());
    }
    let own = Key::request(method, uri, body);
    let with_ticket = rules::decide(&request, |key| *key == own);
    let other = Key::request(method, uri, &[body, b" "].concat());
    assert!(rules::decide(&request, |key| *key == other).is_err());
    decision.map(|()| String::new()).map_err(|rule| {
        let needs = if with_ticket.is_ok() {
            "with a ticket: "
        } else {
            ""
        };
        format!("{needs}{rule}")
    })
}

/// Decides a stored container: its `id` and `app`, the files `config` and `host`, the create request
/// `requested`, the configuration of the `image`, and the record `clones`.
pub fn stored_container(container: &Value) -> Decision {
    let app = container["app"].as_str().unwrap_or_default();
    let json = |field: &str| container[field].to_string();
    let id = container["id"].as_str().unwrap_or_default();
    let id = if is_hex(id) { id } else { CONTAINER };
    let directory = PathBuf::from("/data/docker/containers").join(id);
    let (config, host) = (json("config"), json("host"));
    let stored = Stored::parse(directory, config.as_bytes(), host.as_bytes());
    let stored = stored.map_err(|e| format!("{e:#}"))?;
    let sandbox = container["requested"]["Labels"]["edge.sandbox"].as_str();
    let identity = if sandbox.is_some_and(|app| !app.is_empty()) {
        Identity::Sandbox { app: app.into() }
    } else {
        signed(app)
    };
    let table = Table::parse(board::table().to_string().as_bytes()).unwrap();
    let clones: Option<CloneRecord> = serde_json::from_str(&json("clones")).ok();
    stored::check(&Facts {
        stored: &stored,
        requested: &container["requested"],
        image: &container["image"],
        identity: &identity,
        granted: &table.granted(&identity),
        clones: clones.as_ref(),
        volumes: Path::new(checker::stored::VOLUMES),
        log_options: &serde_json::json!({ "max-size": "10m", "max-file": "3" }),
        cgroups_v2: true,
    })?;
    let verdict = checker::stored::container(app, &stored.host, &stored.config);
    assert_eq!(verdict, Ok(()), "{container}");
    Ok("the engine may start it".into())
}
