//! Table of the settings that a unit of `/data/services` may have, and what to write
//! instead of those that it may not have. Each version of systemd adds settings, so
//! everything that is not listed is refused.

mod instead;

use instead::INSTEAD;

/// Section of unit files with its accepted keys.
pub(crate) struct Section {
    /// Name without brackets.
    pub name: &'static str,
    /// Accepted keys in their present spelling.
    pub keys: &'static [&'static str],
}

/// Accepted keys by section. Except for the keys that [`crate::values::check`]
/// restricts and those that [`crate::environment`] passes to the container, none of them
/// runs a program, changes a program's environment or accesses the content of a file.
pub(crate) const SECTIONS: [Section; 6] = [
    Section {
        name: "Unit",
        keys: &[
            "Description",
            "Documentation",
            "After",
            "Before",
            "Wants",
            "Requires",
            "Requisite",
            "BindsTo",
            "PartOf",
            "OnFailure",
            "StartLimitIntervalSec",
            "StartLimitBurst",
            "JobTimeoutSec",
            "JobRunningTimeoutSec",
            "StopWhenUnneeded",
            "RefuseManualStart",
            "RefuseManualStop",
            "CollectMode",
            "ConditionPathExists",
            "ConditionPathExistsGlob",
            "ConditionPathIsDirectory",
            "ConditionPathIsMountPoint",
            "ConditionPathIsSymbolicLink",
            "ConditionPathIsReadWrite",
            "ConditionDirectoryNotEmpty",
            "ConditionFileNotEmpty",
            "AssertPathExists",
            "AssertPathIsDirectory",
            "AssertPathIsMountPoint",
            "AssertFileNotEmpty",
        ],
    },
    Section {
        name: "Service",
        keys: &[
            "Type",
            "ExecCondition",
            "ExecStartPre",
            "ExecStart",
            "ExecStartPost",
            "ExecReload",
            "ExecStop",
            "ExecStopPost",
            "Environment",
            "EnvironmentFile",
            "Restart",
            "RestartSec",
            "RestartSteps",
            "RestartMaxDelaySec",
            "RemainAfterExit",
            "TimeoutSec",
            "TimeoutStartSec",
            "TimeoutStopSec",
            "TimeoutAbortSec",
            "RuntimeMaxSec",
            "KillMode",
            "KillSignal",
            "RestartKillSignal",
            "FinalKillSignal",
            "SendSIGHUP",
            "SendSIGKILL",
            "SuccessExitStatus",
            "RestartPreventExitStatus",
            "RestartForceExitStatus",
            "GuessMainPID",
            "WorkingDirectory",
            "UMask",
            "Nice",
            "StandardInput",
            "StandardOutput",
            "StandardError",
            "SyslogIdentifier",
            "SyslogFacility",
            "SyslogLevel",
            "SyslogLevelPrefix",
            "LogLevelMax",
            "LogRateLimitIntervalSec",
            "LogRateLimitBurst",
        ],
    },
    Section {
        name: "Timer",
        keys: &[
            "OnActiveSec",
            "OnBootSec",
            "OnStartupSec",
            "OnUnitActiveSec",
            "OnUnitInactiveSec",
            "OnCalendar",
            "AccuracySec",
            "RandomizedDelaySec",
            "FixedRandomDelay",
            "OnClockChange",
            "OnTimezoneChange",
            "RemainAfterElapse",
            "Persistent",
            "Unit",
        ],
    },
    Section {
        name: "Path",
        keys: &[
            "PathExists",
            "PathExistsGlob",
            "PathChanged",
            "PathModified",
            "DirectoryNotEmpty",
            "TriggerLimitIntervalSec",
            "TriggerLimitBurst",
            "Unit",
        ],
    },
    Section {
        name: "Socket",
        keys: &[
            "ListenStream",
            "ListenDatagram",
            "Accept",
            "BindIPv6Only",
            "MaxConnections",
            "Service",
        ],
    },
    Section {
        name: "Install",
        keys: &["WantedBy", "RequiredBy", "Alias", "DefaultInstance", "Also"],
    },
];

/// Keys of earlier versions of systemd, `(section, old, section, present)`. systemd
/// accepts the old spellings still, so they are used, with a note.
const RENAMED: [(&str, &str, &str, &str); 3] = [
    (
        "Unit",
        "StartLimitInterval",
        "Unit",
        "StartLimitIntervalSec",
    ),
    (
        "Service",
        "StartLimitInterval",
        "Unit",
        "StartLimitIntervalSec",
    ),
    ("Service", "StartLimitBurst", "Unit", "StartLimitBurst"),
];

/// Keys that are left out of the unit, with a note: with docker they have no effect on the
/// container, and edge-docker would not work with them.
const LEFT_OUT: [(&[&str], &str); 2] = [
    (
        &[
            "User",
            "Group",
            "SupplementaryGroups",
            "PermissionsStartOnly",
        ],
        "edge-docker runs as root, and --user in ExecStart= sets the user of the container",
    ),
    (
        &["Author", "Maintainer"],
        "no version of systemd knows it: write a comment with #",
    ),
];

/// Returns the note on a key that is left out of a unit, in whichever section it is.
pub(crate) fn left_out(key: &str) -> Option<String> {
    let (_, reason) = LEFT_OUT.iter().find(|(keys, _)| keys.contains(&key))?;
    Some(format!("{key}= is left out: {reason}"))
}

/// Verdict on a key.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Listed.
    Allowed,
    /// Accepted under its old name, with a note for the author.
    Renamed(String),
    /// Left out of the unit, with a note for the author.
    LeftOut(String),
    /// Not listed; the text is the reason, and what to write instead.
    Refused(String),
}

/// Returns whether systemd ignores a section or key of this name, as it does for
/// extensions.
pub(crate) fn is_extension(name: &str) -> bool {
    name.starts_with("X-")
}

/// Judges `key` in `section`.
pub(crate) fn check(section: &str, key: &str) -> Verdict {
    let lists = |s: &&Section, key: &str| s.keys.contains(&key);
    let found = SECTIONS.iter().find(|s| s.name == section);
    if found.is_some_and(|s| lists(&s, key)) || is_extension(key) {
        return Verdict::Allowed;
    }
    if let Some(note) = left_out(key).filter(|_| found.is_some()) {
        return Verdict::LeftOut(note);
    }
    let renamed = RENAMED
        .iter()
        .find(|(s, old, ..)| *s == section && *old == key);
    if let Some((_, _, section, present)) = renamed {
        return Verdict::Renamed(format!(
            "{key}= is accepted under its old name: write {present}= in [{section}]"
        ));
    }
    Verdict::Refused(match found {
        Some(_) => format!(
            "{key}= is not allowed in [{section}]: {}",
            instead(section, key)
        ),
        None => format!("{key}= is before the first section: write [Unit] or [Service] above"),
    })
}

/// Checks that a section is one of [`SECTIONS`].
pub(crate) fn check_section(section: &str) -> Result<(), String> {
    let names: Vec<_> = SECTIONS.iter().map(|s| s.name).collect();
    if names.contains(&section) {
        return Ok(());
    }
    let similar = names.iter().find(|n| n.eq_ignore_ascii_case(section));
    Err(match similar {
        Some(name) => format!("section [{section}] is written [{name}]"),
        None => format!(
            "section [{section}] is not allowed: the sections are [{}]",
            names.join("], [")
        ),
    })
}

/// Returns what to write instead of a key that is not listed for `section`.
fn instead(section: &str, key: &str) -> String {
    let elsewhere = |name: &str| {
        let section = SECTIONS.iter().find(|s| s.keys.contains(&name))?;
        Some(section.name)
    };
    if let Some((_, text)) = INSTEAD.iter().find(|(keys, _)| keys.contains(&key)) {
        return (*text).into();
    }
    if let Some(other) = elsewhere(key) {
        return format!("it belongs in [{other}]");
    }
    let all = SECTIONS.iter().flat_map(|s| s.keys);
    match { all }.find(|k| k.eq_ignore_ascii_case(key)) {
        Some(name) => format!("it is written {name}="),
        None => format!("remove it, or write one of the keys of [{section}] in docs/boot.md"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The list in the documentation is the list of this module.
    #[test]
    fn the_documentation_lists_every_key() {
        let page = include_str!("../../../docs/boot.md");
        for Section { name, keys } in &SECTIONS {
            let keys: Vec<_> = keys.iter().map(|key| format!("`{key}`")).collect();
            let row = format!("| `[{name}]` | {} |\n", keys.join(", "));
            assert!(
                page.contains(&row),
                "docs/boot.md lacks this row, or has another one:\n{row}"
            );
        }
    }

    #[test]
    fn a_refused_key_comes_with_what_to_write() {
        for (section, key, text) in [
            ("Unit", "BindTo", "BindsTo="),
            ("Service", "execstart", "it is written ExecStart="),
            ("Unit", "Restart", "it belongs in [Service]"),
            ("Service", "StartLimitIntervalSec", "it belongs in [Unit]"),
            ("Service", "MemoryMax", "--memory=SIZE"),
            ("Service", "Frobnicate", "docs/boot.md"),
            ("", "Type", "above"),
        ] {
            let Verdict::Refused(reason) = check(section, key) else {
                panic!("[{section}] {key}=");
            };
            assert!(reason.contains(text), "{reason}");
        }
        for (section, text) in [
            ("service", "is written [Service]"),
            ("Mount", "the sections are [Unit], [Service]"),
        ] {
            let reason = check_section(section).unwrap_err();
            assert!(reason.contains(text), "{reason}");
        }
        assert_eq!(check_section("Unit"), Ok(()));
    }

    #[test]
    fn old_names_are_accepted_with_the_present_one() {
        let Verdict::Renamed(note) = check("Service", "StartLimitInterval") else {
            panic!("not renamed");
        };
        assert!(note.ends_with("StartLimitIntervalSec= in [Unit]"), "{note}");
        for (section, old, _, present) in RENAMED {
            assert!(matches!(check(section, old), Verdict::Renamed(_)), "{old}");
            assert_eq!(check("Unit", present), Verdict::Allowed);
        }
        assert_eq!(check("Unit", "X-Fleet"), Verdict::Allowed);
        assert!(matches!(check("Service", "User"), Verdict::LeftOut(_)));
        assert!(matches!(check("", "User"), Verdict::Refused(_)));
    }

    #[test]
    fn no_key_is_both_accepted_and_refused() {
        for (keys, _) in INSTEAD.iter().chain(&LEFT_OUT) {
            for key in keys.iter() {
                assert!(
                    SECTIONS.iter().all(|s| !s.keys.contains(key)),
                    "{key} is listed"
                );
            }
        }
    }
}
