//! `app.yaml`: what an app is.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Result;
use edge_common::exit::Failure;
use edge_signature::{valid_app, valid_version};
use serde::Deserialize;

use crate::CONFIGURATION;
use crate::config::{self, Project};
use crate::mapping::Mapping;
use crate::text::from_text;

/// An app and its folder.
pub struct App {
    /// Where it lies.
    pub folder: PathBuf,
    /// Its name.
    pub name: String,
    /// What `app.yaml` says.
    pub spec: Spec,
}

from_text!(Name, Word, Variable, Line, Volume);

/// What `app.yaml` says.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// Name: folder, container, data folder.
    name: Name,
    /// `[ADDRESS:]HOST:CONTAINER[/udp]`.
    #[serde(default)]
    pub ports: Vec<Word>,
    /// Variables of the container. No secrets: they are visible on the device.
    #[serde(default)]
    pub env: BTreeMap<Variable, Value>,
    /// `SOURCE:TARGET[:ro]`; the source is seen from the app's data folder.
    #[serde(default)]
    pub volumes: Vec<Volume>,
    /// `LOCAL:BELOW`: files that `sandbox` puts below the app's data folder.
    #[serde(default)]
    pub sync: Vec<Mapping>,
    /// When the engine starts it again.
    #[serde(default)]
    pub restart: Restart,
    /// How the engine knows that it works.
    pub health: Option<Health>,
    /// What it may use of the device.
    #[serde(default)]
    pub resources: Resources,
    /// What it may do beyond the ordinary; goes into the signature.
    #[serde(default)]
    pub grants: Vec<Word>,
}

struct Name(String);

impl TryFrom<String> for Name {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if valid_app(&text) {
            Ok(Self(text))
        } else {
            Err("must be 1 to 63 of a-z, 0-9 and -, not - at either end")
        }
    }
}

/// Text without blanks, commas or control characters, not starting with `-`.
pub struct Word(pub String);

impl TryFrom<String> for Word {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let good = |c: char| c.is_ascii_graphic() && c != ',' && c != '\\';
        if text.is_empty() || text.starts_with('-') || !text.chars().all(good) {
            return Err(format!("{text:?} is not a plain word"));
        }
        Ok(Self(text))
    }
}

/// Name of a variable.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
pub struct Variable(pub String);

impl TryFrom<String> for Variable {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let good = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if text.starts_with(|c: char| c.is_ascii_digit())
            || text.is_empty()
            || !text.chars().all(good)
        {
            return Err(format!("{text:?} is not the name of a variable"));
        }
        Ok(Self(text))
    }
}

/// Value of a variable: text on one line, a number, or yes and no.
#[derive(Deserialize)]
#[serde(
    untagged,
    expecting = "the value of a variable must be text on one line, a number, true or false"
)]
pub enum Value {
    /// `true` or `false`.
    Flag(bool),
    /// A whole number.
    Number(i64),
    /// Another number.
    Real(f64),
    /// Text.
    Text(Line),
}

impl std::fmt::Display for Value {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Flag(value) => value.fmt(f),
            Self::Number(value) => value.fmt(f),
            Self::Real(value) => value.fmt(f),
            Self::Text(Line(value)) => f.write_str(value),
        }
    }
}

/// Text without control characters.
pub struct Line(pub String);

impl TryFrom<String> for Line {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if text.chars().any(char::is_control) {
            return Err("control characters are not taken");
        }
        Ok(Self(text))
    }
}

/// A folder of the app's data and where the container sees it.
#[derive(Debug, PartialEq, Eq)]
pub struct Volume {
    /// Below the data folder; empty for the folder itself.
    pub source: String,
    /// Absolute path in the container.
    pub target: String,
    /// May it only read?
    pub read_only: bool,
}

impl TryFrom<String> for Volume {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let parts: Vec<_> = text.split(':').collect();
        let (source, target, read_only) = match parts[..] {
            [source, target] => (source, target, false),
            [source, target, "ro"] => (source, target, true),
            [source, target, "rw"] => (source, target, false),
            _ => return Err(format!("{text:?} is not SOURCE:TARGET[:ro]")),
        };
        let source = source
            .strip_prefix("./")
            .unwrap_or(source)
            .trim_end_matches('/');
        let good = |p: &str| {
            let letter = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
            !p.is_empty() && p != "." && p != ".." && !p.starts_with('-') && p.chars().all(letter)
        };
        if source != "." && !source.is_empty() && !source.split('/').all(good) {
            return Err(format!(
                "{text:?}: the source is a folder of the app's data, `.` or NAME[/NAME]"
            ));
        }
        let inside = target.strip_prefix('/').unwrap_or_default();
        if !inside.split('/').all(good) {
            return Err(format!("{text:?}: the target is an absolute path"));
        }
        Ok(Self {
            source: if source == "." {
                String::new()
            } else {
                source.into()
            },
            target: target.into(),
            read_only,
        })
    }
}

/// When the engine starts it again.
#[derive(Deserialize, Default, Clone, Copy)]
#[serde(rename_all = "kebab-case")]
pub enum Restart {
    /// Never.
    No,
    /// When it failed.
    OnFailure,
    /// Always, also after a reboot, unless it was stopped by hand.
    #[default]
    UnlessStopped,
    /// Always.
    Always,
}

impl Restart {
    /// Docker's word.
    pub fn word(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::OnFailure => "on-failure",
            Self::UnlessStopped => "unless-stopped",
            Self::Always => "always",
        }
    }
}

/// A check that the engine runs in the container.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Health {
    /// Shell command; 0 is healthy.
    pub command: Line,
    /// Time between checks, as `10s`.
    pub interval: Option<Word>,
    /// Longest time of a check.
    pub timeout: Option<Word>,
    /// Time after the start in which failures do not count.
    pub start_period: Option<Word>,
    /// Failures in a row that count.
    pub retries: Option<u32>,
}

/// What an app may use of its device.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
pub struct Resources {
    /// Memory, as `512m`.
    pub memory: Option<Word>,
    /// Processors, as `1.5`.
    pub cpus: Option<f64>,
    /// Processes.
    pub pids: Option<u32>,
}

impl App {
    /// Reads the app `name` of the project.
    ///
    /// # Errors
    /// No such folder, no Dockerfile, `app.yaml` absent or malformed.
    pub fn load(project: &Project, name: &str) -> Result<Self> {
        check_name(name)?;
        let folder = project.folder.join(name);
        let missing =
            |what: &str, next: &str| Failure::error(CONFIGURATION, format_args!("{what}: {next}"));
        if !folder.is_dir() {
            let what = format!("there is no app {name:?} in {}", project.folder.display());
            return Err(missing(&what, "`edge-app list` shows those that are there"));
        }
        if !folder.join("app.yaml").exists() {
            return Err(missing(
                &format!("{name} has no app.yaml"),
                "write one; `name: NAME` suffices",
            ));
        }
        let spec: Spec = config::parse(&folder.join("app.yaml"), &format!("{name}/app.yaml"))?;
        if spec.name.0 != name {
            let what = format!("{name}/app.yaml: name is {:?}", spec.name.0);
            return Err(missing(&what, "it must be the name of the folder"));
        }
        Ok(Self {
            folder,
            name: name.into(),
            spec,
        })
    }

    /// The version that is asked for, or what git calls the app's state.
    ///
    /// # Errors
    /// A version that cannot be part of a tag; no git.
    pub async fn version(&self, asked: Option<&str>) -> Result<String> {
        let version = match asked {
            Some(version) => version.to_string(),
            None => self.git().await?,
        };
        if !valid_version(&version) {
            return Err(Failure::error(
                2,
                format_args!("version {version:?} is not 1 to 48 of A-Z, a-z, 0-9, _, . and -"),
            ));
        }
        Ok(version)
    }

    async fn git(&self) -> Result<String> {
        let described = self.ask_git(&["describe", "--always", "--dirty", "--tags"]);
        let text = described.await.ok_or_else(|| {
            Failure::error(2, "the app is in no git repository: give --version V")
        })?;
        // A tag may hold what a version may not.
        Ok(text.replace('/', "-"))
    }

    /// The commit that the app is at, with `-dirty` if it is not exactly that.
    pub async fn revision(&self) -> Option<String> {
        let commit = self.ask_git(&["rev-parse", "HEAD"]).await?;
        let changed = self.ask_git(&["status", "--porcelain", "--", "."]).await?;
        let mark = if changed.is_empty() { "" } else { "-dirty" };
        Some(format!("{commit}{mark}"))
    }

    async fn ask_git(&self, words: &[&str]) -> Option<String> {
        let git = which::which("git").ok()?;
        let output = tokio::process::Command::from(edge_common::Root::system().command(git))
            .arg("-C")
            .arg(&self.folder)
            .args(words)
            .kill_on_drop(true)
            .output()
            .await
            .ok()?;
        let text = String::from_utf8_lossy(&output.stdout);
        output.status.success().then(|| text.trim().to_string())
    }

    /// The words after `edge-docker run` for `image`, with the data in `data`.
    pub fn run_words(&self, image: &str, data: &str) -> Vec<String> {
        let mut words: Vec<String> = ["--detach", "--name", &self.name].map(String::from).into();
        words.extend(self.options(data));
        words.push(image.into());
        words
    }

    /// What `app.yaml` says, as options of `edge-docker run`.
    pub fn options(&self, data: &str) -> Vec<String> {
        let spec = &self.spec;
        let mut words = Vec::new();
        let mut put = |option: &str, value: String| words.push(format!("--{option}={value}"));
        put("restart", spec.restart.word().into());
        for Word(port) in &spec.ports {
            put("publish", port.clone());
        }
        for (Variable(name), value) in &spec.env {
            put("env", format!("{name}={value}"));
        }
        for volume in &spec.volumes {
            let slash = if volume.source.is_empty() { "" } else { "/" };
            let end = if volume.read_only { ":ro" } else { "" };
            put(
                "volume",
                format!("{data}{slash}{}:{}{end}", volume.source, volume.target),
            );
        }
        if let Some(health) = &spec.health {
            put("health-cmd", health.command.0.clone());
            let times = [
                ("interval", &health.interval),
                ("timeout", &health.timeout),
                ("start-period", &health.start_period),
            ];
            for (name, time) in times {
                if let Some(Word(time)) = time {
                    put(&format!("health-{name}"), time.clone());
                }
            }
            if let Some(retries) = health.retries {
                put("health-retries", retries.to_string());
            }
        }
        let Resources { memory, cpus, pids } = &spec.resources;
        let limits = [
            ("memory", memory.as_ref().map(|Word(m)| m.clone())),
            ("cpus", cpus.map(|c| c.to_string())),
            ("pids-limit", pids.map(|p| p.to_string())),
        ];
        for (option, limit) in limits {
            if let Some(limit) = limit {
                put(option, limit);
            }
        }
        for Word(grant) in &spec.grants {
            put("grant", grant.clone());
        }
        words
    }
}

/// A name that is safe everywhere: folder, tag, container, path.
///
/// # Errors
/// Wrong usage.
pub fn check_name(name: &str) -> Result<()> {
    // These the device gives to containers while it switches.
    let reserved = ["-previous", "-older", "-next", "-moving"];
    if let Some(end) = reserved.iter().find(|r| name.ends_with(*r)) {
        return Err(Failure::error(
            2,
            format_args!("{name:?} is not the name of an app: names ending in {end} are reserved"),
        ));
    }
    if valid_app(name) {
        return Ok(());
    }
    Err(Failure::error(
        2,
        format_args!("{name:?} is not the name of an app: 1 to 63 of a-z, 0-9 and -"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes() {
        let volume = |text: &str| Volume::try_from(text.to_string());
        assert_eq!(volume(".:/data").unwrap().source, "");
        assert_eq!(volume("./logs/:/var/log").unwrap().source, "logs");
        assert!(volume("a/b:/x:ro").unwrap().read_only);
        for bad in [
            "",
            ":",
            "/etc:/x",
            "..:/x",
            "a/../b:/x",
            ".:x",
            ".:/",
            ".:/a/../b",
            "a b:/x",
            "a:/x:z",
            "a:/x:ro:ro",
            "$(id):/x",
            "-v:/x",
            "a\n:/x",
            "a:/x,b",
        ] {
            assert!(volume(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn words_in_order() {
        let spec: Spec = serde_yaml::from_str(
            "name: a\nports: ['8080:80']\nenv: {A: 'x y', B: 1}\nvolumes: ['.:/data']\nhealth: {command: 'true', retries: 2}\n\
             resources: {memory: 64m, cpus: 1.5}\ngrants: [gpu]\n",
        )
        .unwrap();
        let app = App {
            folder: PathBuf::new(),
            name: "a".into(),
            spec,
        };
        let words = app.run_words("r.io/x@sha256:0", "/data/apps/a");
        assert_eq!(
            words.join("|"),
            "--detach|--name|a|--restart=unless-stopped|--publish=8080:80|--env=A=x y|--env=B=1|\
             --volume=/data/apps/a:/data|--health-cmd=true|--health-retries=2|--memory=64m|--cpus=1.5|--grant=gpu|r.io/x@sha256:0"
        );
    }
}
