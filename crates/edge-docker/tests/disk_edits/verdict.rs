//! Judgement of a boot after edits: what runs, what does not, and what is reported.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::Testbed;
use crate::apps::App;
use crate::device::Device;
use crate::edits::{Edit, Scope};

/// Time in which everything that starts by itself has to run.
const MAX_START: Duration = Duration::from_secs(30);

/// State of an edited app after the boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// It runs in its own container, as it was signed.
    Unchanged,
    /// It runs in a new container, as it was signed.
    Recreated,
    /// It does not run, which is reported.
    Down,
    /// It does not run, as the edit says.
    Stopped,
    /// Something of the edit runs, or what does not run is not reported.
    Wrong,
}

/// Boot of the device, with what it reports.
pub struct Boot {
    /// Whether the audit has let the engine start.
    pub is_started: bool,
    /// Output of the audit, the recovery and the check of layers.
    pub messages: String,
    /// Reasons by the IDs of images that a check did not find intact.
    damaged: BTreeMap<String, String>,
}

impl Boot {
    /// Reads the reports of a boot.
    pub fn read(device: &Device, is_started: bool, messages: String) -> Self {
        let text = fs::read(device.path("/run/edge-ai/layers.json")).unwrap_or_default();
        let results: Value = serde_json::from_slice(&text).unwrap_or_default();
        let images = results["images"].as_array().into_iter().flatten();
        let damaged = images.filter(|image| image["state"] != "ok").map(|image| {
            let text = |field: &str| image[field].as_str().unwrap_or_default().to_string();
            (text("id"), text("why"))
        });
        Self {
            is_started,
            messages,
            damaged: damaged.collect(),
        }
    }

    /// Returns whether nothing is reported.
    pub fn is_silent(&self) -> bool {
        self.messages.trim().is_empty() && self.damaged.is_empty()
    }

    fn reports(&self, app: &App) -> bool {
        let names = self.messages.contains(&app.name) || self.messages.contains(&app.id);
        names || self.damaged.contains_key(&app.image)
    }
}

/// Returns whether every container runs what it runs for long.
pub fn has_settled(observed: &BTreeMap<String, Value>) -> bool {
    observed.values().all(|container| {
        let arguments = container["process"]["arguments"]
            .as_str()
            .unwrap_or_default();
        arguments.contains("sleep\0") || arguments.starts_with("/sbin/docker-init")
    })
}

/// Judges every edit of a boot; returns why one is wrong.
pub fn of(
    testbed: &Testbed,
    boot: &Boot,
    edits: &[Edit],
    is_before: bool,
) -> Vec<(Outcome, Option<String>)> {
    let start = Instant::now();
    loop {
        let observed = match boot.is_started {
            true => testbed.observe(),
            false => BTreeMap::new(),
        };
        let judge = Judge {
            testbed,
            boot,
            observed: &observed,
            is_before,
        };
        let mut verdicts: Vec<_> = edits.iter().map(|edit| judge.edit(edit)).collect();
        let others = judge.others(edits);
        if let (Some(why), Some(first)) = (others, verdicts.first_mut()) {
            let first_why = first.1.take().unwrap_or_default();
            *first = (Outcome::Wrong, Some(format!("{first_why} others: {why}")));
        }
        let is_wrong = verdicts
            .iter()
            .any(|(outcome, _)| *outcome == Outcome::Wrong);
        if !is_wrong || start.elapsed() > MAX_START {
            return verdicts;
        }
        std::thread::sleep(Duration::from_millis(300));
    }
}

struct Judge<'a> {
    testbed: &'a Testbed,
    boot: &'a Boot,
    observed: &'a BTreeMap<String, Value>,
    is_before: bool,
}

impl Judge<'_> {
    fn edit(&self, edit: &Edit) -> (Outcome, Option<String>) {
        if edit.scope == Scope::Device {
            let verdicts = self.testbed.apps.iter().map(|app| self.app(app, edit));
            let worst = verdicts.max_by_key(|(outcome, _)| *outcome);
            return worst.unwrap();
        }
        self.app(&self.testbed.apps[edit.app], edit)
    }

    fn app(&self, app: &App, edit: &Edit) -> (Outcome, Option<String>) {
        let wrong = |why: String| {
            let (number, what) = (edit.number, &edit.what);
            let boot = &self.boot.messages;
            let lines = boot
                .lines()
                .filter(|l| l.contains(&app.name) || l.contains(&app.id));
            let lines: Vec<_> = lines.collect();
            let name = &app.name;
            let mut text = format!("edit {number} of {name}: {what}\n  {why}\n  {lines:?}");
            if lines.is_empty() {
                text += &format!("\n{boot}");
            }
            (Outcome::Wrong, Some(text))
        };
        let found = edit.scope != Scope::Layer || self.boot.damaged.contains_key(&app.image);
        if !found {
            return wrong("the check of layers does not find it".into());
        }
        let traces = self.traces(app);
        // Until the check reaches the image, the changed program runs.
        let may_run = edit.scope == Scope::Layer && !self.is_before;
        if !traces.is_empty() && !may_run {
            return wrong(format!("it ran: {traces}"));
        }
        let Some(container) = self.observed.get(&app.name) else {
            return match self.boot.reports(app) || !self.boot.is_started {
                true => (Outcome::Down, None),
                false if edit.may_stop => (Outcome::Stopped, None),
                false => wrong("it does not run, and nothing is reported".into()),
            };
        };
        if let Some(ended) = container["ended"].as_str() {
            return wrong(format!("its process or its files are gone: {ended}"));
        }
        let honest = &self.testbed.honest[&app.name];
        if let Some(difference) = difference(honest, container, "") {
            return wrong(difference);
        }
        match container["id"] == honest["id"] {
            true => (Outcome::Unchanged, None),
            false => (Outcome::Recreated, None),
        }
    }

    /// Returns what an edited program has written.
    fn traces(&self, app: &App) -> String {
        let path = self
            .testbed
            .device
            .path(&format!("/data/apps/{}/evil", app.name));
        fs::read_to_string(path).unwrap_or_default()
    }

    /// Returns what is wrong with containers that no edit of this boot concerns.
    fn others(&self, edits: &[Edit]) -> Option<String> {
        let apps = &self.testbed.apps;
        let is_known = |name: &String| apps.iter().any(|app| app.name == *name);
        let unknown: Vec<_> = self
            .observed
            .keys()
            .filter(|name| !is_known(name))
            .collect();
        if !unknown.is_empty() {
            return Some(format!("{unknown:?} run"));
        }
        if edits.iter().any(|edit| edit.scope == Scope::Device) {
            return None;
        }
        let is_edited = |at: usize| edits.iter().any(|edit| edit.app == at);
        apps.iter()
            .enumerate()
            .filter(|(at, _)| !is_edited(*at))
            .find_map(|(_, app)| {
                let honest = &self.testbed.honest[&app.name];
                let Some(container) = self.observed.get(&app.name) else {
                    return Some(format!("{} does not run", app.name));
                };
                let is_other = container["id"] != honest["id"];
                let why = difference(honest, container, "")
                    .or(is_other.then(|| "it is another".into()))?;
                Some(format!("{}: {why}", app.name))
            })
    }
}

/// Returns the path of the first part of `found` that is not as `honest`.
fn difference(honest: &Value, found: &Value, path: &str) -> Option<String> {
    match (honest, found) {
        (Value::Object(one), Value::Object(other)) => {
            let names = one
                .keys()
                .chain(other.keys())
                .filter(|name| *name != "id" || !path.is_empty());
            let mut parts = names.map(|name| {
                difference(
                    &honest[name.as_str()],
                    &found[name.as_str()],
                    &format!("{path}/{name}"),
                )
            });
            parts.find_map(|part| part)
        }
        _ if honest == found || (is_empty(honest) && is_empty(found)) => None,
        _ => Some(format!("{path} is {found} instead of {honest}")),
    }
}

/// Returns whether a value is unset: the engine writes null, false or an empty list.
fn is_empty(value: &Value) -> bool {
    let is_empty_list = value.as_array().is_some_and(Vec::is_empty);
    value.is_null() || *value == Value::Bool(false) || is_empty_list
}
