//! Fields of `app.yaml`, and their conversion to options of edge-docker.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::mapping::Mapping;
use crate::scalar::{Cpus, Line, Name, Token, Variable};
use crate::volume::Volume;
use crate::yaml::null_as_default;

/// Parsed `app.yaml`: the settings with which an app runs on a device.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spec {
    /// Name of the app, which is also the name of its directory, its container and
    /// its data directory.
    name: Name,
    /// Published ports: `[ADDRESS:]HOST:CONTAINER[/udp]`.
    #[serde(default, deserialize_with = "null_as_default")]
    ports: Vec<Token>,
    /// Environment variables of the container. Secrets do not belong in them: the
    /// values are visible on the device.
    #[serde(default, deserialize_with = "null_as_default")]
    env: BTreeMap<Variable, Line>,
    /// Directories to mount into the container: `SOURCE:TARGET[:ro]`, with SOURCE
    /// relative to the app's data directory.
    #[serde(default, deserialize_with = "null_as_default")]
    pub volumes: Vec<Volume>,
    /// Files that `edge-app sandbox` copies to the device: `LOCAL:BELOW`, with
    /// BELOW relative to the app's data directory.
    #[serde(default, deserialize_with = "null_as_default")]
    pub sync: Vec<Mapping>,
    /// Rule by which the engine restarts the container after its end.
    #[serde(default)]
    restart: Restart,
    /// Health check that the engine runs in the container.
    health: Option<Health>,
    /// Limits of memory, processors and number of processes.
    #[serde(default, deserialize_with = "null_as_default")]
    resources: Resources,
    /// Names of grants: permissions beyond those that every app has. The signature
    /// of the image covers them.
    #[serde(default, deserialize_with = "null_as_default")]
    grants: Vec<Token>,
}

/// Restart policy of the container, with the names of docker's `--restart`.
#[derive(Deserialize, Default, Clone, Copy)]
#[serde(rename_all = "kebab-case")]
enum Restart {
    /// The container is never restarted.
    No,
    /// Restart after an exit code other than 0.
    OnFailure,
    /// Restart after each end and after a reboot, unless an operator stopped the
    /// container.
    #[default]
    UnlessStopped,
    /// Restart after each end; after a reboot even a container that an operator
    /// stopped.
    Always,
}

impl Restart {
    /// Returns the value of docker's `--restart` for this policy.
    fn name(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::OnFailure => "on-failure",
            Self::UnlessStopped => "unless-stopped",
            Self::Always => "always",
        }
    }
}

/// Health check: a command that the engine runs repeatedly in the container.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Health {
    /// Shell command; exit code 0 means healthy.
    command: Line,
    /// Time between two checks, for example `10s`.
    interval: Option<Token>,
    /// Time after which a running check counts as failed, for example `5s`.
    timeout: Option<Token>,
    /// Time after the start of the container in which failed checks do not count,
    /// for example `30s`.
    start_period: Option<Token>,
    /// Number of consecutive failed checks after which the container is unhealthy.
    retries: Option<u32>,
}

/// Resource limits of the container, with the values of docker's `--memory`,
/// `--cpus` and `--pids-limit`.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Resources {
    /// Memory limit, for example `512m`.
    memory: Option<Token>,
    /// CPU limit in processors, for example `1.5`.
    cpus: Option<Cpus>,
    /// Maximum number of processes and threads in the container.
    pids: Option<u32>,
}

impl Spec {
    /// Returns the name of the app, which is also the name of its container.
    pub fn name(&self) -> &str {
        &self.name.0
    }

    /// Returns the names of the requested grants, in the order of `app.yaml`.
    pub fn grants(&self) -> Vec<String> {
        self.grants.iter().map(|Token(g)| g.clone()).collect()
    }

    /// Returns the arguments with which `edge-docker run` starts the app from
    /// `image`, with the app's data in the directory `data`.
    pub fn run_arguments(&self, image: &str, data: &str) -> Vec<String> {
        let start = ["--detach", "--name", self.name()].map(String::from);
        let mut arguments = Vec::from(start);
        arguments.extend(self.options(data));
        arguments.push(image.into());
        arguments
    }

    /// Returns the options that `edge-docker run` and `replace` share, with the
    /// app's data in the directory `data`. Their order never changes, because
    /// `edge-app diff` compares them with the options of an earlier deployment.
    pub fn options(&self, data: &str) -> Vec<String> {
        let mut options = Vec::new();
        let mut put = |option: &str, value: &str| options.push(format!("--{option}={value}"));
        put("restart", self.restart.name());
        for Token(port) in &self.ports {
            put("publish", port);
        }
        for (Variable(name), Line(value)) in &self.env {
            put("env", &format!("{name}={value}"));
        }
        for volume in &self.volumes {
            put("volume", &volume.below(data));
        }
        if let Some(health) = &self.health {
            health.options(&mut put);
        }
        self.resources.options(&mut put);
        for Token(grant) in &self.grants {
            put("grant", grant);
        }
        options
    }
}

impl Health {
    fn options(&self, put: &mut impl FnMut(&str, &str)) {
        put("health-cmd", &self.command.0);
        let times = [
            ("health-interval", &self.interval),
            ("health-timeout", &self.timeout),
            ("health-start-period", &self.start_period),
        ];
        for (option, time) in times {
            if let Some(Token(time)) = time {
                put(option, time);
            }
        }
        if let Some(retries) = self.retries {
            put("health-retries", &retries.to_string());
        }
    }
}

impl Resources {
    fn options(&self, put: &mut impl FnMut(&str, &str)) {
        if let Some(Token(memory)) = &self.memory {
            put("memory", memory);
        }
        if let Some(Cpus(cpus)) = self.cpus {
            put("cpus", &cpus.to_string());
        }
        if let Some(pids) = self.pids {
            put("pids-limit", &pids.to_string());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parse_yaml;

    #[test]
    fn arguments_in_order() {
        let spec: Spec = parse_yaml(
            "name: a\nports: ['8080:80']\nenv: {A: 'x y', B: 1}\nvolumes: ['.:/data']\nhealth: {command: 'true', retries: 2}\n\
             resources: {memory: 64m, cpus: 1.5}\ngrants: [gpu]\n",
            "app.yaml",
        )
        .unwrap();
        let arguments = spec.run_arguments("r.io/x@sha256:0", "/data/apps/a");
        assert_eq!(
            arguments.join("|"),
            "--detach|--name|a|--restart=unless-stopped|--publish=8080:80|--env=A=x y|--env=B=1|\
             --volume=/data/apps/a:/data|--health-cmd=true|--health-retries=2|--memory=64m|--cpus=1.5|--grant=gpu|r.io/x@sha256:0"
        );
    }

    #[test]
    fn values_of_variables_stay_as_written() {
        let text = "name: a\nenv: {A: 1.10, B: 0x10, C: yes, D: 1_000, E: '~', F: True, G: .nan}\n";
        let spec: Spec = parse_yaml(text, "app.yaml").unwrap();
        let options = spec.options("/d").split_off(1);
        let values: Vec<_> = options.iter().map(|o| &o["--env=A=".len()..]).collect();
        assert_eq!(
            values,
            ["1.10", "0x10", "yes", "1_000", "~", "True", ".nan"]
        );
    }

    #[test]
    fn keys_without_a_value_have_the_default() {
        let text = "name: a\nports:\nenv:\nvolumes: ~\nsync:\nhealth:\nresources:\ngrants:\n";
        let spec: Spec = parse_yaml(text, "app.yaml").unwrap();
        assert_eq!(spec.options("/d"), ["--restart=unless-stopped"]);
    }

    #[test]
    fn errors_stand_at_the_value() {
        for (text, place) in [
            ("name: a\nenv: {A: x, B: [1]}\n", "2:16"),
            ("name: a\nenv: {A: ~}\n", "2:10"),
            ("name: a\nenv: {A: x, B C: y}\n", "2:13"),
            ("name: a\nvolumes:\n  - .:/a\n  - ..:/b\n", "4:5"),
            (
                "name: a\nhealth: {command: 'true', retries: many}\n",
                "2:36",
            ),
            ("name: a\nenv: &x {A: b}\nports: *x\n", "3:8"),
            ("name: a\nname: a\n", "1:1"),
            ("name: a\n---\nname: b\n", "3:1"),
            ("name: a\nports: [\n", "2:8"),
        ] {
            let error = parse_yaml::<Spec>(text, "app.yaml")
                .map(|_| ())
                .unwrap_err();
            assert!(error.starts_with(&format!("app.yaml:{place}: ")), "{error}");
            assert!(!error.contains(" at line "), "{error}");
        }
    }

    #[test]
    fn processors_within_limits() {
        let cpus = |text: &str| {
            let text = format!("name: a\nresources:\n  cpus: {text}\n");
            parse_yaml::<Spec>(&text, "app.yaml").map(|s| s.resources.cpus.map(|Cpus(c)| c))
        };
        assert_eq!(cpus("2"), Ok(Some(2.0)));
        assert_eq!(cpus("0.25"), Ok(Some(0.25)));
        for bad in ["0", "-1", ".nan", ".inf", "many", "1e9", "1e-9", "[1]"] {
            let error = cpus(bad).unwrap_err();
            assert!(error.starts_with("app.yaml:3:9: "), "{error}");
        }
    }
}
