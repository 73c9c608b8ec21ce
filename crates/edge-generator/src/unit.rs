//! One unit file: its grammar (systemd.syntax(7)) and the rule that it may
//! start nothing but edge-docker. What is not on the list is refused.

/// The one program that a unit of `/data` may start.
const PROGRAM: &str = "/usr/bin/edge-docker";

/// Keys that a unit may use, by section. None of them runs a program, changes
/// its surroundings or reaches a file outside.
const ALLOWED: [(&str, &[&str]); 6] = [
    (
        "Unit",
        &[
            "Description",
            "Documentation",
            "After",
            "Before",
            "Wants",
            "Requires",
            "BindsTo",
            "PartOf",
            "StartLimitIntervalSec",
            "StartLimitBurst",
            "ConditionPathExists",
        ],
    ),
    (
        "Service",
        &[
            "Type",
            "ExecStartPre",
            "ExecStart",
            "ExecStartPost",
            "ExecReload",
            "ExecStop",
            "ExecStopPost",
            "Restart",
            "RestartSec",
            "RemainAfterExit",
            "TimeoutSec",
            "TimeoutStartSec",
            "TimeoutStopSec",
            "RuntimeMaxSec",
            "KillMode",
            "KillSignal",
            "SuccessExitStatus",
            "RestartPreventExitStatus",
            "SyslogIdentifier",
        ],
    ),
    (
        "Timer",
        &[
            "OnActiveSec",
            "OnBootSec",
            "OnStartupSec",
            "OnUnitActiveSec",
            "OnUnitInactiveSec",
            "OnCalendar",
            "AccuracySec",
            "RandomizedDelaySec",
            "Persistent",
            "Unit",
        ],
    ),
    (
        "Path",
        &[
            "PathExists",
            "PathExistsGlob",
            "PathChanged",
            "PathModified",
            "DirectoryNotEmpty",
            "Unit",
        ],
    ),
    (
        "Socket",
        &[
            "ListenStream",
            "ListenDatagram",
            "Accept",
            "BindIPv6Only",
            "Service",
        ],
    ),
    (
        "Install",
        &["WantedBy", "RequiredBy", "Alias", "DefaultInstance", "Also"],
    ),
];

/// Kinds of units that are taken from `/data/services`.
const KINDS: [&str; 4] = ["service", "socket", "timer", "path"];

/// What a unit asks of its place in the system.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Unit {
    /// File name.
    pub name: String,
    /// `WantedBy=`.
    pub wanted_by: Vec<String>,
    /// `RequiredBy=`.
    pub required_by: Vec<String>,
    /// `Alias=`.
    pub aliases: Vec<String>,
    /// `DefaultInstance=` of a template.
    pub instance: Option<String>,
    /// Units that it starts: `Unit=` and `Service=`.
    pub starts: Vec<String>,
}

/// A name that systemd takes for a unit of a kind that is allowed here.
pub fn valid_name(name: &str) -> bool {
    let kind = name.rsplit_once('.').map_or("", |(_, kind)| kind);
    KINDS.contains(&kind) && valid_target(name)
}

/// A name that may stand in `WantedBy=`.
pub fn valid_target(name: &str) -> bool {
    let good = |c: char| c.is_ascii_alphanumeric() || ":_.-@\\".contains(c);
    !name.is_empty()
        && name.len() <= 255
        && !name.starts_with(['.', '-'])
        && name.contains('.')
        && name.chars().all(good)
}

/// Reads and judges a unit.
///
/// # Errors
/// The line and what is wrong with it.
pub fn parse(name: &str, text: &str) -> Result<Unit, String> {
    let mut unit = Unit {
        name: name.into(),
        ..Unit::default()
    };
    let mut section = String::new();
    for (number, line) in logical_lines(text) {
        let at = |what: String| format!("{name}: line {number}: {what}");
        if let Some(header) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
            section = header.into();
            continue;
        }
        let (key, value) = line
            .split_once('=')
            .ok_or_else(|| at("neither a section nor key=value".into()))?;
        let (key, value) = (key.trim_end(), value.trim_start());
        allowed(&section, key).map_err(at)?;
        if key.starts_with("Exec") {
            command(key, value).map_err(at)?;
        }
        unit.take(key, value);
    }
    Ok(unit)
}

impl Unit {
    fn take(&mut self, key: &str, value: &str) {
        let words = || value.split_whitespace().map(String::from);
        match key {
            "WantedBy" => self.wanted_by.extend(words()),
            "RequiredBy" => self.required_by.extend(words()),
            "Alias" => self.aliases.extend(words()),
            "DefaultInstance" => self.instance = Some(value.into()),
            "Unit" | "Service" => self.starts.extend(words()),
            _ => {}
        }
    }

    /// `foo@.service`: has no life of its own.
    pub fn is_template(&self) -> bool {
        self.name.contains("@.")
    }
}

fn allowed(section: &str, key: &str) -> Result<(), String> {
    let (_, keys) = ALLOWED
        .iter()
        .find(|(name, _)| *name == section)
        .ok_or_else(|| format!("section [{section}] is not allowed in /data/services"))?;
    if keys.contains(&key) {
        return Ok(());
    }
    Err(format!(
        "{key}= is not allowed in [{section}] of a unit in /data/services"
    ))
}

/// `[-]/usr/bin/edge-docker …`, one command; an empty value resets the list.
fn command(key: &str, value: &str) -> Result<(), String> {
    let words: Vec<_> = value.split_whitespace().collect();
    let Some(first) = words.first() else {
        return Ok(());
    };
    if first.strip_prefix('-').unwrap_or(first) != PROGRAM {
        return Err(format!("{key}= may only start {PROGRAM}, not {first}"));
    }
    if words
        .iter()
        .any(|w| w.trim_matches(['\\', '"', '\'']) == ";")
    {
        return Err(format!("{key}= holds a second command after \";\""));
    }
    Ok(())
}

/// Lines with their numbers: comments dropped, continuations joined.
fn logical_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines: Vec<(usize, String)> = Vec::new();
    let mut continued = false;
    for (index, raw) in text.lines().enumerate() {
        let line = raw.trim();
        if line.starts_with(['#', ';']) || (line.is_empty() && !continued) {
            continue;
        }
        let (part, more) = line.strip_suffix('\\').map_or((line, false), |l| (l, true));
        match lines.last_mut().filter(|_| continued) {
            Some((_, start)) => *start = format!("{start} {part}"),
            None => lines.push((index + 1, part.to_string())),
        }
        continued = more;
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "[Unit]\nAfter=docker.service\n# words\n[Service]\nExecStart=/usr/bin/edge-docker run \\\n  # between\n  --rm x\n[Install]\nWantedBy=multi-user.target timers.target\nAlias=b.service\n";

    fn refused(text: &str) -> String {
        parse("a.service", text).unwrap_err()
    }

    #[test]
    fn a_good_unit() {
        let unit = parse("a.service", GOOD).unwrap();
        assert_eq!(unit.wanted_by, ["multi-user.target", "timers.target"]);
        assert_eq!(unit.aliases, ["b.service"]);
    }

    #[test]
    fn only_edge_docker_is_started() {
        for value in [
            "/bin/sh -c x",
            "+/usr/bin/edge-docker x",
            "!/usr/bin/edge-docker",
            "@/usr/bin/edge-docker sh",
            "\"/usr/bin/edge-docker\"",
            "/usr/bin/edge-docker2",
            "/usr/bin/../bin/sh",
            "edge-docker",
            "/usr/bin/edge-docker ps ; /bin/sh",
            "/usr/bin/edge-docker ps \";\" /bin/sh",
            "-/bin/sh",
        ] {
            for key in ["ExecStart", "ExecStartPre", "ExecStopPost", "ExecReload"] {
                let said = refused(&format!("[Service]\n{key}={value}\n"));
                assert!(said.starts_with("a.service: line 2: "), "{said}");
            }
        }
        assert!(
            parse(
                "a.service",
                "[Service]\nExecStart=-/usr/bin/edge-docker ps\n"
            )
            .is_ok()
        );
        assert!(parse("a.service", "[Service]\nExecStart=\n").is_ok());
    }

    #[test]
    fn what_is_not_on_the_list_is_refused() {
        for text in [
            "[Service]\nEnvironment=LD_PRELOAD=/data/x.so",
            "[Service]\nEnvironmentFile=/data/x",
            "[Service]\nRootDirectory=/data/x",
            "[Service]\nBindPaths=/data/x:/usr/bin",
            "[Unit]\nOnFailure=poweroff.target",
            "[Mount]\nWhat=/dev/sda",
            "ExecStart=/bin/sh",
            "[Socket]\nExecStartPost=/bin/sh",
            "[Service]\nUser=edge",
            "nonsense",
            "[Service]\n.include /x",
            "[service]\nExecStart=/bin/sh",
            "[Service]\nEXECSTART=/bin/sh",
            "[Service]\n\\\nExecStart=/bin/sh",
        ] {
            assert!(!refused(text).is_empty());
        }
    }

    #[test]
    fn names() {
        for good in ["a.service", "a@.service", "a@b.timer", "x-y_z:1.path"] {
            assert!(valid_name(good), "{good}");
        }
        for bad in [
            "",
            ".service",
            "a",
            "a.mount",
            "a/b.service",
            "a b.service",
            "é.service",
            "-a.service",
            "a.service\n",
        ] {
            assert!(!valid_name(bad), "{bad}");
        }
    }
}
