//! Root of a device in a temporary directory, with an edge-docker that keeps its apps,
//! images and sets as files.
#![allow(
    dead_code,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    missing_docs
)]

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use edge_signature::Digest;
use edge_signature::set::{ReleaseSet, SetApp};
use edge_sim::testbed::example;
use serde_json::{Value, json};
use tempfile::TempDir;

const REPOSITORY: &str = "registry.test/edge-ai";
const STATE: &str = "data/config/edge-fleet";

pub struct Recorder(TempDir);

/// Returns a digest that stands for a text.
pub fn digest(text: &str) -> Digest {
    Digest::of(text.as_bytes())
}

/// Returns a set of these versions, `APP-VERSION`.
pub fn set(number: u64, tags: &[&str]) -> ReleaseSet {
    let app = |tag: &&str| {
        let (name, version) = tag.split_once('-').unwrap();
        SetApp {
            digest: digest(tag),
            name: name.into(),
            run: digest("run"),
            serial: number,
            timeout: None,
            version: version.into(),
        }
    };
    ReleaseSet {
        apps: tags.iter().map(app).collect(),
        ..ReleaseSet::new("barn", number, 4_000_000_000, &["*"])
    }
}

impl Recorder {
    pub fn new() -> Self {
        let recorder = Self(tempfile::tempdir().unwrap());
        for name in [
            "usr/bin",
            "bin",
            "run",
            "etc/edge-ai/container-config",
            "data/config/edge-fleet/in",
            "state/apps",
            "state/versions",
            "state/sets",
            "state/kept",
            "state/sick",
            "state/images",
            "state/forbidden",
            "proc/sys/kernel/random",
        ] {
            fs::create_dir_all(recorder.path(name)).unwrap();
        }
        let program = recorder.path("usr/bin/edge-docker");
        fs::write(&program, include_str!("edge_docker.sh")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        symlink("/bin/date", recorder.path("bin/date")).unwrap();
        for (name, text) in [
            ("state/floor", "0"),
            ("state/journal", ""),
            ("etc/edge-ai/container-config/ecr-url.txt", REPOSITORY),
            ("proc/sys/kernel/random/boot_id", "boot-1"),
        ] {
            fs::write(recorder.path(name), text).unwrap();
        }
        recorder
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).unwrap();
    }

    pub fn remove(&self, name: &str) {
        fs::remove_file(self.path(name)).unwrap();
    }

    /// Makes a version known to the registry.
    pub fn version(&self, tag: &str) -> String {
        let (app, version) = tag.split_once('-').unwrap();
        let container = json!({
            "name": format!("/{app}"), "state": "running", "exit_code": 0, "health": "",
            "restart": "always", "app": app, "version": version, "digest": digest(tag),
        });
        let text = format!("{container}\n");
        self.write(&format!("state/versions/{tag}"), &text);
        text
    }

    /// Deploys a version by hand.
    pub fn deploy(&self, tag: &str) {
        let container = self.version(tag);
        let app = tag.split_once('-').unwrap().0;
        self.write(&format!("state/apps/{app}"), &container);
        self.write(&format!("state/images/{tag}"), "");
    }

    /// Puts a set with its versions into the registry.
    pub fn release(&self, set: &ReleaseSet) -> Digest {
        for app in &set.apps {
            self.version(&app.tag());
        }
        let text = String::from_utf8(set.to_bytes().unwrap()).unwrap();
        let digest = Digest::of(text.as_bytes());
        self.write(&format!("state/sets/{}", digest.hex()), &text);
        digest
    }

    /// Lists jobs that demand these sets.
    pub fn jobs(&self, sets: &[&ReleaseSet]) {
        let jobs = sets.iter().map(|set| {
            let digest = self.release(set);
            let document = json!({
                "edge": 1, "set": format!("{REPOSITORY}@{digest}"), "name": set.name,
                "number": set.serial,
            });
            json!({
                "id": format!("edge-barn-{}-all", set.serial), "number": 1, "queued": 5,
                "status": "QUEUED", "version": 1, "document": document.to_string(),
            })
        });
        let jobs: Vec<_> = jobs.collect();
        let list = json!({ "v": 1, "time": 9, "complete": true, "jobs": jobs });
        self.write(&format!("{STATE}/in/jobs.json"), &list.to_string());
    }

    pub fn state(&self, name: &str) -> Value {
        let text = fs::read(self.path(STATE).join(name)).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    pub fn write_state(&self, name: &str, text: &str) {
        self.write(&format!("{STATE}/{name}"), text);
    }

    pub fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path(STATE)).unwrap().flatten();
        let names = entries.map(|entry| entry.file_name().to_string_lossy().into_owned());
        let mut names: Vec<_> = names.filter(|name| name != "in").collect();
        names.sort();
        names
    }

    /// Returns the versions that run, `APP-VERSION`.
    pub fn running(&self) -> Vec<String> {
        let entries = fs::read_dir(self.path("state/apps")).unwrap().flatten();
        let containers = entries.map(|entry| {
            let text = fs::read(entry.path()).unwrap();
            serde_json::from_slice::<Value>(&text).unwrap()
        });
        let text = |value: &Value| value.as_str().unwrap().to_string();
        let current = containers.filter(|c| text(&c["name"]) == format!("/{}", text(&c["app"])));
        let mut tags: Vec<_> = current
            .map(|c| format!("{}-{}", text(&c["app"]), text(&c["version"])))
            .collect();
        tags.sort();
        tags
    }

    /// Returns the commands that changed something, without digests.
    pub fn journal(&self) -> Vec<String> {
        let text = fs::read_to_string(self.path("state/journal")).unwrap();
        let word = |word: &str| match word.len() {
            64.. => "SET".to_string(),
            _ => word.into(),
        };
        let line = |line: &str| line.split(' ').map(word).collect::<Vec<_>>().join(" ");
        text.lines().map(line).collect()
    }

    pub fn command_line(&self, args: &[&str]) -> Vec<OsString> {
        let mut line = vec![example("fleet_at_root").into(), self.0.path().into()];
        line.extend(args.iter().map(OsString::from));
        line
    }

    /// Runs edge-fleet; returns exit code and both streams.
    pub fn run(&self, args: &[&str]) -> (i32, String) {
        let line = self.command_line(args);
        let mut command = Command::new(&line[0]);
        let output = command.args(&line[1..]).stdin(Stdio::null()).output();
        let output = output.unwrap();
        let text = [output.stdout, output.stderr].concat();
        let code = output.status.code().unwrap_or(-1);
        (code, String::from_utf8_lossy(&text).into_owned())
    }

    /// Runs edge-fleet, which must succeed.
    pub fn converge(&self) {
        let (code, output) = self.run(&[]);
        assert_eq!(code, 0, "{output}");
    }

    /// Waits for the end of a command whose caller was killed.
    pub fn settle(&self) {
        let lock = self.path("state/lock");
        if lock.exists() {
            edge_common::lock::exclusive(&lock).unwrap();
        }
    }

    /// Returns status and reason of the last result.
    pub fn result(&self) -> (String, String) {
        let results = self.state("results.json");
        let last = results["results"].as_array().and_then(|list| list.last());
        let last = last.cloned().unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
        (text(&last["status"]), text(&last["details"]["reason"]))
    }
}
