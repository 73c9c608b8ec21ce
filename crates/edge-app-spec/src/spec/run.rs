//! Run specification of an app, and the command line for an image without one.

use edge_docker_policy::run_spec::{DeviceNames, RunSpec};
use serde_json::{Map, Value};

use super::Spec;
use crate::shell::quote;
use crate::yaml::{Place, Problem};

/// Option of `RunSpec::options` that `run` and `replace` get in another place.
const NAME: &str = "--name=";

impl Spec {
    /// Returns the run specification, the content that is signed with the image.
    pub fn run_spec(&self) -> RunSpec {
        self.run.clone()
    }

    /// Returns the arguments with which `edge-docker run` starts the app from an image
    /// without a run specification, with the app's data in the directory `data`.
    pub fn run_arguments(&self, image: &str, data: &str) -> Vec<String> {
        let mut arguments = ["--detach", "--name", self.name()]
            .map(String::from)
            .to_vec();
        arguments.extend(self.options(data));
        arguments.push(image.into());
        arguments.extend(self.command());
        arguments
    }

    /// Returns the options that `edge-docker run` and `replace` share, with the app's
    /// data in the directory `data`.
    pub fn options(&self, data: &str) -> Vec<String> {
        options_of(&self.run, data)
    }

    /// Returns the words after the image: the rest of `entrypoint`, and `command`.
    pub fn command(&self) -> Vec<String> {
        let entrypoint = self.run.entrypoint.iter().flatten().skip(1);
        entrypoint.chain(&self.run.command).cloned().collect()
    }

    /// Checks the whole with the device's own parser and limits.
    pub(super) fn check(&self) -> Result<(), Problem> {
        let start = Place { line: 1, column: 1 };
        let problem = |error: anyhow::Error| Problem::new(start, error);
        self.run.to_bytes().map_err(problem)?;
        let names = DeviceNames {
            thing: Some("edge-ai-0123456789".into()),
            serial: Some("0123456789".into()),
        };
        let data = format!("/data/apps/{}", self.name());
        let request = self.run.request("image", &data, &names);
        request.map(drop).map_err(problem)
    }
}

/// Returns the options of `edge-docker run` that stand for a run specification, with its
/// placeholders as they are and the app's data in the directory `data`.
pub fn options_of(spec: &RunSpec, data: &str) -> Vec<String> {
    let mut run = spec.clone();
    // Only a run specification has placeholders; a host name cannot hold braces.
    run.hostname = run.hostname.replace(['{', '}'], "");
    // An option takes one word as the entry point; `command` returns the others.
    let entrypoint = run.entrypoint.take();
    if let Some(check) = &mut run.healthcheck
        && let Some((kind, program)) = check.test.split_first()
        && kind == "CMD"
    {
        // No option runs a check without a shell.
        check.test = vec![
            "CMD-SHELL".into(),
            format!("exec {}", quote(program.iter())),
        ];
    }
    let names = DeviceNames {
        thing: Some("{thing}".into()),
        serial: Some("{serial}".into()),
    };
    // Both names are there, so that every placeholder stays as it is.
    let options = run.options(data, &names).unwrap_or_default();
    let mut options: Vec<_> = options
        .into_iter()
        .filter(|option| !option.starts_with(NAME))
        .collect();
    if let Some(entrypoint) = entrypoint {
        let first = entrypoint.first().map_or("", String::as_str);
        options.push(format!("--entrypoint={first}"));
    }
    options
}

/// Settings of a run specification for which `edge-docker run` has no option.
const WITHOUT_OPTION: [&str; 5] = ["command", "commands", "requires", "root", "unit"];

/// Returns all settings of a run specification, for a comparison of two: its options, and
/// the others as they stand in `app.yaml`.
pub fn settings_of(spec: &RunSpec, data: &str) -> Vec<String> {
    let mut settings = options_of(spec, data);
    let values = serde_json::to_value(spec).unwrap_or_default();
    let mut add = |key: &str, value: &Value| settings.push(format!("{key}: {value}"));
    for key in WITHOUT_OPTION {
        if let Some(value) = values.get(key) {
            add(key, value);
        }
    }
    // An option takes the first word alone.
    if spec
        .entrypoint
        .as_ref()
        .is_some_and(|words| words.len() > 1)
    {
        add("entrypoint", &values["entrypoint"]);
    }
    let mut storage = Map::new();
    for (from, to) in [("storage", "limit"), ("storage_owner", "owner")] {
        if let Some(value) = values.get(from) {
            storage.insert(to.into(), value.clone());
        }
    }
    if !storage.is_empty() {
        add("storage", &Value::Object(storage));
    }
    settings
}
