//! Apps that have a container, as edge-docker lists them.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use edge_common::Root;
use edge_common::contract::{label, suffix};
use serde::Deserialize;

use super::docker;
use crate::converge::{App, Condition, Deployed};

/// Number of attempts at a list: containers may come and go meanwhile.
const ATTEMPTS: u32 = 3;

/// Container of an app.
#[derive(Debug, Deserialize)]
struct Listed {
    name: String,
    state: String,
    exit_code: i64,
    health: String,
    restart: String,
    app: String,
    version: String,
    digest: String,
}

impl Listed {
    /// Returns the name without the slash that the engine puts before it.
    fn name(&self) -> &str {
        self.name.trim_start_matches('/')
    }

    fn deployed(&self) -> Deployed {
        Deployed {
            digest: self.digest.clone(),
            version: self.version.clone(),
        }
    }

    fn condition(&self) -> Condition {
        let is_running = self.state == "running";
        // A job ends with success, and edge-docker deploys it as one.
        let may_be_job = ["", "no", "on-failure"].contains(&&*self.restart);
        let is_done = self.state == "exited" && self.exit_code == 0 && may_be_job;
        match &*self.health {
            "unhealthy" => Condition::Down,
            "starting" if is_running => Condition::Starting,
            _ if is_running || is_done => Condition::Healthy,
            _ => Condition::Down,
        }
    }
}

/// Containers of apps.
#[derive(Debug, Default)]
pub(crate) struct Apps {
    /// Present containers, by the name of the app.
    pub(crate) present: BTreeMap<String, App>,
    /// Earlier versions that are kept for a rollback, by the name of the app.
    pub(crate) previous: BTreeMap<String, Deployed>,
}

/// Returns the template with which docker's client prints a container as JSON.
fn template() -> String {
    let label = |name: &str| format!("{{{{json (index .Config.Labels \"{name}\")}}}}");
    let (app, version, digest) = (
        label(label::APP),
        label(label::VERSION),
        label(label::DIGEST),
    );
    format!(
        "{{\"name\":{{{{json .Name}}}},\"state\":{{{{json .State.Status}}}},\
         \"exit_code\":{{{{json .State.ExitCode}}}},\
         \"health\":{{{{with .State.Health}}}}{{{{json .Status}}}}{{{{else}}}}\"\"{{{{end}}}},\
         \"restart\":{{{{json .HostConfig.RestartPolicy.Name}}}},\
         \"app\":{app},\"version\":{version},\"digest\":{digest}}}"
    )
}

/// Returns the containers of signed apps.
///
/// # Errors
/// The engine does not answer.
pub(crate) fn read(root: &Root) -> Result<Apps> {
    let mut last = Ok(Apps::default());
    for _ in 0..ATTEMPTS {
        last = try_read(root);
        if last.is_ok() {
            break;
        }
    }
    last.context("listing the apps")
}

fn try_read(root: &Root) -> Result<Apps> {
    let format = format!("{{{{.Label \"{}\"}}}}\t{{{{.Names}}}}", label::APP);
    let list = docker::look(root, &["ps", "-a", "--no-trunc", "--format", &format])?;
    let rows = list.lines().filter_map(|line| line.split_once('\t'));
    let is_ours = |app: &str, name: &str| {
        let kept = name.strip_suffix(suffix::PREVIOUS);
        !app.is_empty() && (name == app || kept == Some(app))
    };
    let names = rows.filter(|(app, name)| is_ours(app, name));
    let names: Vec<_> = names.map(|(_, name)| name).collect();
    if names.is_empty() {
        return Ok(Apps::default());
    }
    let format = template();
    let mut args = vec!["inspect", "--type", "container", "--format", &format];
    args.extend(names);
    parse(&docker::look(root, &args)?)
}

fn parse(text: &str) -> Result<Apps> {
    let mut apps = Apps::default();
    for line in text.lines().filter(|line| !line.is_empty()) {
        let listed: Listed = serde_json::from_str(line).context("parsing a container")?;
        if listed.name() == listed.app {
            let app = App {
                deployed: listed.deployed(),
                condition: listed.condition(),
            };
            apps.present.insert(listed.app, app);
        } else {
            let deployed = listed.deployed();
            apps.previous.insert(listed.app, deployed);
        }
    }
    Ok(apps)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(state: &str, health: &str, restart: &str, exit_code: i64) -> String {
        serde_json::json!({
            "name": "/hello", "state": state, "exit_code": exit_code, "health": health,
            "restart": restart, "app": "hello", "version": "v1", "digest": "sha256:1",
        })
        .to_string()
    }

    #[test]
    fn conditions_follow_state_health_and_restart_policy() {
        for (state, health, restart, exit_code, expected) in [
            ("running", "", "always", 0, Condition::Healthy),
            ("running", "healthy", "always", 0, Condition::Healthy),
            ("running", "starting", "always", 0, Condition::Starting),
            ("running", "unhealthy", "always", 0, Condition::Down),
            ("restarting", "", "always", 1, Condition::Down),
            ("exited", "", "always", 0, Condition::Down),
            ("exited", "", "no", 0, Condition::Healthy),
            ("exited", "", "on-failure", 1, Condition::Down),
            ("exited", "starting", "always", 0, Condition::Down),
            ("paused", "", "always", 0, Condition::Down),
            ("created", "", "no", 0, Condition::Down),
            ("dead", "", "no", 0, Condition::Down),
        ] {
            let apps = parse(&line(state, health, restart, exit_code)).unwrap();
            let found = apps.present["hello"].condition;
            assert_eq!(found, expected, "{state} {health} {restart} {exit_code}");
        }
    }

    #[test]
    fn kept_versions_are_apart() {
        let kept = line("exited", "", "no", 0).replace("/hello", "/hello-previous");
        let apps = parse(&kept).unwrap();
        assert!(apps.present.is_empty());
        assert_eq!(apps.previous["hello"].version, "v1");
        assert!(parse("{").is_err() && parse("[]").is_err());
        assert!(parse("").unwrap().present.is_empty());
    }
}
