//! `app.yaml`, and what of it a device is told.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::mapping::Mapping;
use crate::scalar::{Cpus, Line, Name, Value, Variable, Word};
use crate::volume::Volume;

/// What `app.yaml` says.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// Name: directory, container, data directory.
    name: Name,
    /// `[ADDRESS:]HOST:CONTAINER[/udp]`.
    #[serde(default)]
    pub ports: Vec<Word>,
    /// Variables of the container. No secrets: they are visible on the device.
    #[serde(default)]
    pub env: BTreeMap<Variable, Value>,
    /// `SOURCE:TARGET[:ro]`; the source is seen from the app's data directory.
    #[serde(default)]
    pub volumes: Vec<Volume>,
    /// `LOCAL:BELOW`: files that `sandbox` puts below the app's data directory.
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
    pub cpus: Option<Cpus>,
    /// Processes.
    pub pids: Option<u32>,
}

impl Spec {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name.0
    }

    /// The words after `edge-docker run` for `image`, with the data in `data`.
    pub fn run_words(&self, image: &str, data: &str) -> Vec<String> {
        let mut words: Vec<String> = ["--detach", "--name", self.name()].map(String::from).into();
        words.extend(self.options(data));
        words.push(image.into());
        words
    }

    /// What `app.yaml` says, as options of `edge-docker run`.
    pub fn options(&self, data: &str) -> Vec<String> {
        let spec = self;
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
            put("volume", volume.below(data));
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
            ("cpus", cpus.map(|Cpus(c)| c.to_string())),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::yaml;

    #[test]
    fn words_in_order() {
        let spec: Spec = yaml(
            "name: a\nports: ['8080:80']\nenv: {A: 'x y', B: 1}\nvolumes: ['.:/data']\nhealth: {command: 'true', retries: 2}\n\
             resources: {memory: 64m, cpus: 1.5}\ngrants: [gpu]\n",
            "app.yaml",
        )
        .unwrap();
        let words = spec.run_words("r.io/x@sha256:0", "/data/apps/a");
        assert_eq!(
            words.join("|"),
            "--detach|--name|a|--restart=unless-stopped|--publish=8080:80|--env=A=x y|--env=B=1|\
             --volume=/data/apps/a:/data|--health-cmd=true|--health-retries=2|--memory=64m|--cpus=1.5|--grant=gpu|r.io/x@sha256:0"
        );
    }

    #[test]
    fn processors() {
        let cpus = |text: &str| {
            let text = format!("name: a\nresources:\n  cpus: {text}\n");
            yaml::<Spec>(&text, "app.yaml").map(|s| s.resources.cpus.map(|Cpus(c)| c))
        };
        assert_eq!(cpus("2"), Ok(Some(2.0)));
        assert_eq!(cpus("0.25"), Ok(Some(0.25)));
        for bad in ["0", "-1", ".nan", ".inf", "many", "1e9", "1e-9", "[1]"] {
            let said = cpus(bad).unwrap_err();
            assert!(said.starts_with("app.yaml:3:9: "), "{said}");
        }
    }
}
