//! Conversion of a run specification to a request, through the options of `run`: a
//! specification cannot express more than a command line.

use anyhow::Result;

use super::types::{Healthcheck, RunSpec};
use crate::cli::request::{self, Request};
use crate::refusal::refuse;

/// Names of the device, which replace the placeholders `{thing}` and `{serial}`.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct DeviceNames {
    /// Name of the thing in AWS IoT; `None` before the device is provisioned.
    pub thing: Option<String>,
    /// Serial number of the board; `None` if the board has none.
    pub serial: Option<String>,
}

impl DeviceNames {
    /// Replaces the placeholders in `text`; all other text in braces stays as it is.
    ///
    /// # Errors
    /// The device has no name for a placeholder.
    fn fill(&self, text: &str) -> Result<String> {
        let mut filled = text.to_string();
        for (placeholder, value) in [("{thing}", &self.thing), ("{serial}", &self.serial)] {
            if !text.contains(placeholder) {
                continue;
            }
            let Some(value) = value else {
                return Err(refuse(format_args!(
                    "{text:?} is refused: this device has no value for {placeholder} yet"
                )));
            };
            filled = filled.replace(placeholder, value);
        }
        Ok(filled)
    }
}

impl RunSpec {
    /// Returns the request of the container that this specification describes, with the
    /// image reference `image` and the app's data in the directory `data`. The container
    /// starts in the background; see [`RunSpec::attached_request`].
    ///
    /// # Errors
    /// A value is refused as the same option of `run` would be, or the device has no name
    /// for a placeholder.
    pub fn request(&self, image: &str, data: &str, names: &DeviceNames) -> Result<Request> {
        let mut args = vec!["--detach".to_string()];
        args.extend(self.options(data, names)?);
        self.parse_request(args, image)
    }

    /// Returns the request of [`RunSpec::request`] for a container to which the caller is
    /// attached.
    ///
    /// # Errors
    /// As [`RunSpec::request`].
    pub fn attached_request(
        &self,
        image: &str,
        data: &str,
        names: &DeviceNames,
    ) -> Result<Request> {
        self.parse_request(self.options(data, names)?, image)
    }

    fn parse_request(&self, mut args: Vec<String>, image: &str) -> Result<Request> {
        args.push(image.into());
        args.extend(self.command.iter().cloned());
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let mut request = request::parse(&args)?;
        // Docker's option has one value, its API a list.
        if let Some(entrypoint) = &self.entrypoint {
            request.body.entrypoint = Some(match &entrypoint[..] {
                [] => vec![String::new()],
                program => program.to_vec(),
            });
        }
        if let Some(check) = &self.healthcheck {
            check.complete(&mut request);
        }
        Ok(request)
    }

    /// Returns the options of `run` that stand for this specification, in a fixed order.
    ///
    /// # Errors
    /// The device has no name for a placeholder.
    pub fn options(&self, data: &str, names: &DeviceNames) -> Result<Vec<String>> {
        let mut options = Vec::new();
        let mut put = |option: &str, value: &str| options.push(format!("--{option}={value}"));
        put("name", &self.app);
        let texts = [
            ("restart", &self.restart),
            ("cpuset-cpus", &self.cpuset),
            ("network", &self.network_mode),
            ("stop-signal", &self.stop_signal),
            ("user", &self.user),
            ("workdir", &self.working_dir),
        ];
        for (option, value) in texts.into_iter().filter(|(_, v)| !v.is_empty()) {
            put(option, value);
        }
        if !self.hostname.is_empty() {
            // A thing's name may hold colons, a host name may not.
            put("hostname", &names.fill(&self.hostname)?.replace(':', "-"));
        }
        let lists = [
            ("cap-add", &self.cap_add),
            ("cap-drop", &self.cap_drop),
            ("dns", &self.dns),
            ("expose", &self.expose),
            ("add-host", &self.extra_hosts),
            ("grant", &self.grants),
            ("group-add", &self.group_add),
            ("publish", &self.ports),
        ];
        for (option, values) in lists {
            values.iter().for_each(|value| put(option, value));
        }
        for (name, value) in &self.environment {
            put("env", &format!("{name}={}", names.fill(value)?));
        }
        for (name, value) in &self.labels {
            put("label", &format!("{name}={value}"));
        }
        for volume in &self.volumes {
            let slash = if volume.source.is_empty() { "" } else { "/" };
            let mode = if volume.read_only { ":ro" } else { "" };
            let (source, target) = (&volume.source, &volume.target);
            put("volume", &format!("{data}{slash}{source}:{target}{mode}"));
        }
        self.limits(&mut put);
        Ok(options)
    }

    fn limits(&self, put: &mut impl FnMut(&str, &str)) {
        let sizes = [
            ("memory", self.mem_limit),
            ("pids-limit", self.pids_limit),
            ("shm-size", self.shm_size),
        ];
        for (option, value) in sizes.into_iter().filter(|(_, v)| *v != 0) {
            put(option, &value.to_string());
        }
        if self.cpus != 0 {
            let (whole, rest) = (self.cpus / 1_000_000_000, self.cpus % 1_000_000_000);
            put("cpus", &format!("{whole}.{rest:09}"));
        }
        if let Some(seconds) = self.stop_grace_period {
            put("stop-timeout", &seconds.to_string());
        }
        for (option, yes) in [
            ("init", self.init),
            ("read-only", self.read_only),
            ("tty", self.tty),
        ] {
            if yes {
                put(option, "true");
            }
        }
        for (name, limit) in &self.ulimits {
            put("ulimit", &format!("{name}={}:{}", limit.soft, limit.hard));
        }
        for (path, options) in &self.tmpfs {
            let colon = if options.is_empty() { "" } else { ":" };
            put("tmpfs", &format!("{path}{colon}{options}"));
        }
        for (name, value) in &self.sysctls {
            put("sysctl", &format!("{name}={value}"));
        }
        if let Some(logging) = &self.logging {
            if !logging.driver.is_empty() {
                put("log-driver", &logging.driver);
            }
            for (name, value) in &logging.options {
                put("log-opt", &format!("{name}={value}"));
            }
        }
        if let Some(check) = &self.healthcheck {
            check.options(put);
        }
    }
}

impl Healthcheck {
    fn options(&self, put: &mut impl FnMut(&str, &str)) {
        match &self.test[..] {
            [none] if none == "NONE" => put("no-healthcheck", "true"),
            [kind, command] if kind == "CMD-SHELL" => put("health-cmd", command),
            // `complete` sets this form: no option of docker's can express it.
            _ => {}
        }
        let times = [
            ("health-interval", self.interval),
            ("health-start-interval", self.start_interval),
            ("health-start-period", self.start_period),
            ("health-timeout", self.timeout),
        ];
        for (option, milliseconds) in times.into_iter().filter(|(_, v)| *v != 0) {
            put(option, &format!("{milliseconds}ms"));
        }
        if self.retries != 0 {
            put("health-retries", &self.retries.to_string());
        }
    }

    /// Sets the form `CMD`, which runs a program without a shell.
    fn complete(&self, request: &mut Request) {
        if self.test.first().is_some_and(|kind| kind == "CMD") {
            let health = request.body.healthcheck.get_or_insert_default();
            health.test = self.test.clone();
        }
    }
}
