//! systemd units of an app, from the key `unit` of its run specification. They start
//! edge-docker in the signed form and nothing else.

use anyhow::Result;

use super::calendar::is_calendar;
use super::types::Unit;
use crate::refusal::refuse;

/// Types of units that `after` and `wants` may name.
const TYPES: [&str; 7] = [
    ".service", ".socket", ".target", ".mount", ".path", ".timer", ".device",
];
/// Length limit of a unit name, as of systemd.
const MAX_NAME_BYTES: usize = 255;
/// Limit of the names in `after` and in `wants`.
const MAX_NAMES: usize = 32;

/// Text of the units of an app.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnitFiles {
    /// Content of `APP.service`.
    pub service: String,
    /// Content of `APP.timer`; `None` for an app that starts at boot.
    pub timer: Option<String>,
}

/// Returns whether `text` is the name of a unit. It becomes part of a unit file, so it
/// holds no blank, no line feed and no `%`.
pub fn is_unit_name(text: &str) -> bool {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "@:_.-".contains(c);
    text.len() <= MAX_NAME_BYTES
        && text.starts_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(allowed)
        && TYPES.iter().any(|end| text.ends_with(end))
}

impl Unit {
    /// Returns the units that start `version` of the app `app`.
    ///
    /// # Errors
    /// A value is not one that app.yaml takes: the specification was made by another
    /// program.
    pub fn files(&self, app: &str, version: &str) -> Result<UnitFiles> {
        let names = self.after.iter().chain(&self.wants);
        let many = self.after.len().max(self.wants.len()) > MAX_NAMES;
        let unknown = names.clone().find(|name| !is_unit_name(name));
        if let Some(name) = unknown.or(names.last().filter(|_| many)) {
            return Err(refuse(format_args!(
                "unit: {name:?} is refused: `after` and `wants` take at most {MAX_NAMES} names \
                 of units"
            )));
        }
        let has_timer = !self.timer.is_empty();
        if has_timer && !is_calendar(&self.timer) {
            return Err(refuse(format_args!(
                "unit: timer {:?} is refused: write a time as systemd takes it, for example `daily` \
                 or `Mon *-*-* 03:00`",
                self.timer
            )));
        }
        let plain = |text: &str| {
            let allowed = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
            !text.is_empty() && text.chars().all(allowed)
        };
        if !plain(app) || !plain(version) {
            return Err(refuse(format_args!(
                "unit: {app:?} in version {version:?} is refused: only letters, digits and _ . -"
            )));
        }
        let timer = has_timer.then(|| self.timer_text(app));
        let service = self.service_text(app, version, has_timer);
        Ok(UnitFiles { service, timer })
    }

    fn service_text(&self, app: &str, version: &str, has_timer: bool) -> String {
        let list = |first: &str, names: &[String]| {
            let all = [first].into_iter().chain(names.iter().map(String::as_str));
            all.collect::<Vec<_>>().join(" ")
        };
        let wants = list("docker.service", &self.wants);
        // Recovery recreates containers that differ from their signature: a start before
        // it would create another one.
        let after = list("docker.service edge-docker-recover.service", &self.after);
        // The engine restarts a container that ends; systemd only repeats a start that
        // failed, for example a pull without network. A refusal stays one.
        let start = match has_timer {
            true => "",
            false => {
                "RemainAfterExit=yes\nRestart=on-failure\nRestartSec=30\n\
                 RestartPreventExitStatus=125\n"
            }
        };
        let install = match has_timer {
            true => "",
            false => "\n[Install]\nWantedBy=multi-user.target\n",
        };
        format!(
            "[Unit]\nDescription=App {app}\nWants={wants}\nAfter={after}\n\
             StartLimitIntervalSec=0\n\n[Service]\nType=oneshot\n\
             ExecStart=/usr/bin/edge-docker run {app}-{version}\n{start}TimeoutStartSec=30min\n\
             {install}"
        )
    }

    fn timer_text(&self, app: &str) -> String {
        let calendar = &self.timer;
        format!(
            "[Unit]\nDescription=Timer of the app {app}\n\n[Timer]\nOnCalendar={calendar}\n\
             Persistent=yes\n\n[Install]\nWantedBy=timers.target\n"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_values_are_refused() {
        let unit = |name: &str, timer: &str| Unit {
            after: vec![name.into()],
            timer: timer.into(),
            wants: Vec::new(),
        };
        let good = "network-online.target";
        for timer in ["daily", "Mon,Tue *-*-* 03:00", "*:0/10", ""] {
            assert!(unit(good, timer).files("a", "v1").is_ok(), "{timer}");
        }
        for name in [
            "",
            "a",
            "a.service b.service",
            "a.service\nExecStart=/bin/sh",
            "%i.service",
            "-a.service",
            "a.slice",
            "../a.service",
            "a\\x.service",
            "é.service",
        ] {
            assert!(unit(name, "").files("a", "v1").is_err(), "{name}");
        }
        for timer in [
            "daily\nUnit=x",
            "%h",
            "-x",
            " daily",
            "a=b",
            "a;b",
            "a#b",
            "\"a\"",
        ] {
            assert!(unit(good, timer).files("a", "v1").is_err(), "{timer}");
        }
        for (app, version) in [
            ("a b", "1"),
            ("a", "1 --privileged"),
            ("a", ""),
            ("a", "%n"),
        ] {
            assert!(unit(good, "").files(app, version).is_err());
        }
    }
}
