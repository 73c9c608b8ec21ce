//! Parser of unit files and drop-ins in the syntax of systemd.syntax(7). A file that
//! systemd could split into other lines than this parser is refused, because a
//! forbidden key could be hidden there. Examples are a carriage return, and a backslash
//! before a blank.

use crate::rules;

/// Setting of a unit that names other units.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Key {
    /// `WantedBy=`: unit that wants this unit once it is installed.
    WantedBy,
    /// `RequiredBy=`: unit that requires this unit once it is installed.
    RequiredBy,
    /// `Alias=`, or a link to the unit file: additional name of this unit.
    Alias,
    /// `Also=`: unit that is installed together with this unit.
    Also,
    /// `DefaultInstance=`: instance of a template that is installed if no other is
    /// named.
    DefaultInstance,
    /// `Unit=` or `Service=`: unit that this timer, path or socket starts.
    Fires,
    /// `Wants=`, `Requires=` or `BindsTo=`: unit that this unit pulls in.
    Needs,
    /// `After=`: unit that is started before this unit.
    After,
    /// `Before=`: unit that is started only after this unit.
    Before,
    /// `PathExists=` and the like: path for whose mount this unit waits.
    WaitsForPath,
    /// Drop-in file of this unit, as a path relative to `/data/services`.
    DropIn,
    /// Instance of this template that a link in `/data/services` requests.
    Instance,
}

/// Parsed unit that complies with [`crate::rules`]. All values are in one list instead
/// of a list for each key, to save memory with ten thousand units.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Unit {
    /// File name in `/data/services`, for example `app.service`.
    pub name: Box<str>,
    values: Vec<(Key, Box<str>)>,
    accept: bool,
    calendar: bool,
}

/// Parses and checks `text`, the main file of the unit `name`. An error names file,
/// line and reason.
pub(crate) fn parse(name: &str, text: &str) -> Result<Unit, String> {
    let mut unit = Unit {
        name: name.into(),
        ..Unit::default()
    };
    unit.read(name, text)?;
    Ok(unit)
}

impl Unit {
    /// Returns all values of `key` in the order of the files.
    pub(crate) fn all(&self, key: Key) -> impl Iterator<Item = &str> {
        self.values
            .iter()
            .filter(move |(k, _)| *k == key)
            .map(|(_, value)| &**value)
    }

    pub(crate) fn add(&mut self, key: Key, value: &str) {
        // The list grows by one element, because most units have only two or three
        // values and doubling would waste memory.
        self.values.reserve_exact(1);
        self.values.push((key, value.into()));
    }

    /// Parses and checks one file of this unit, the main file or a drop-in, and adds
    /// its values. An error names file, line and reason.
    pub(crate) fn read(&mut self, file: &str, text: &str) -> Result<(), String> {
        let mut section = String::new();
        let read = for_each_line(text, |line| {
            if let Some(header) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
                header.clone_into(&mut section);
                return Ok(());
            }
            let (key, value) = line
                .split_once('=')
                .ok_or("neither a section nor key=value")?;
            let (key, value) = (strip(key), strip(value));
            rules::check_key(&section, key)?;
            rules::check_value(key, value)?;
            self.set(key, value);
            Ok(())
        });
        read.map_err(|(number, reason)| format!("{file}: line {number}: {reason}"))
    }

    fn set(&mut self, key: &str, value: &str) {
        let list = match key {
            "WantedBy" => Key::WantedBy,
            "RequiredBy" => Key::RequiredBy,
            "Alias" => Key::Alias,
            "Also" => Key::Also,
            "Unit" | "Service" => Key::Fires,
            "Wants" | "Requires" | "BindsTo" => Key::Needs,
            "After" => Key::After,
            "Before" => Key::Before,
            "DefaultInstance" => Key::DefaultInstance,
            "PathExists" | "PathExistsGlob" | "PathChanged" | "PathModified"
            | "DirectoryNotEmpty" => Key::WaitsForPath,
            "OnCalendar" => {
                self.calendar = !value.is_empty();
                return;
            }
            "Accept" => {
                let yes = ["yes", "true", "1", "on", "y", "t"];
                self.accept = yes.iter().any(|yes| value.eq_ignore_ascii_case(yes));
                return;
            }
            _ => return,
        };
        // An empty value resets a list, and a new `DefaultInstance=` replaces the old
        // one; but systemd keeps dependencies and what a timer starts.
        let kept = matches!(list, Key::After | Key::Before | Key::Needs | Key::Fires);
        if (value.is_empty() && !kept) || list == Key::DefaultInstance {
            self.values.retain(|(key, _)| *key != list);
        }
        for item in value.split([' ', '\t']).filter(|item| !item.is_empty()) {
            self.add(list, item);
        }
    }

    /// Returns whether this is a template, `foo@.service`, which can only be started as
    /// an instance.
    pub(crate) fn is_template(&self) -> bool {
        self.name.contains("@.")
    }

    /// Returns whether this is a timer that waits for the clock.
    pub(crate) fn is_calendar(&self) -> bool {
        self.calendar
    }

    /// Returns the unit that a timer, path or socket without `Unit=` or `Service=`
    /// starts: `a.service` for `a.timer`.
    pub(crate) fn implied(&self) -> Option<String> {
        let (stem, kind) = self.name.rsplit_once('.')?;
        if kind == "service" || self.all(Key::Fires).next().is_some() {
            return None;
        }
        if kind == "socket" && self.accept {
            return Some(format!("{}@.service", stem.trim_end_matches('@')));
        }
        Some(format!("{stem}.service"))
    }
}

/// Strips spaces and tabs, as systemd does. Other white space of Unicode is kept, so
/// that a key with such a character is refused as unknown.
fn strip(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

/// Calls `each` with every logical line: comments are skipped and continuation lines
/// are joined. An error contains the line number.
fn for_each_line(
    text: &str,
    mut each: impl FnMut(&str) -> Result<(), String>,
) -> Result<(), (usize, String)> {
    let mut joined = String::new();
    let mut begun = None;
    for (index, raw) in text.split('\n').enumerate() {
        let number = index + 1;
        check_unambiguous(raw, begun.is_some()).map_err(|reason| (number, reason.into()))?;
        let line = strip(raw);
        if line.starts_with(['#', ';']) || (line.is_empty() && begun.is_none()) {
            continue;
        }
        let part = line.strip_suffix('\\');
        if begun.is_none() && part.is_none() {
            each(line).map_err(|reason| (number, reason))?;
            continue;
        }
        let first = *begun.get_or_insert(number);
        joined.push_str(part.unwrap_or(line));
        joined.push(' ');
        if part.is_none() {
            each_joined(&joined, first, &mut each)?;
            joined.clear();
            begun = None;
        }
    }
    begun.map_or(Ok(()), |first| each_joined(&joined, first, &mut each))
}

fn each_joined(
    joined: &str,
    first: usize,
    each: &mut impl FnMut(&str) -> Result<(), String>,
) -> Result<(), (usize, String)> {
    match strip(joined) {
        "" => Ok(()),
        line => each(line).map_err(|reason| (first, reason)),
    }
}

/// Refuses a line that systemd and this parser could interpret differently.
fn check_unambiguous(raw: &str, continued: bool) -> Result<(), &'static str> {
    if raw.contains(|c: char| c.is_control() && c != '\t') {
        return Err("contains a control character");
    }
    let line = strip(raw);
    // systemd counts backslashes, and looks for a continuation before it strips blanks.
    // To systemd neither of these lines is continued.
    if line.ends_with("\\\\") || (line.ends_with('\\') && !raw.ends_with('\\')) {
        return Err("ends in several backslashes or in a backslash and blanks");
    }
    if continued && line.starts_with(';') {
        // This parser skips such a line as a comment, but old versions of systemd read
        // a second command.
        return Err("a \";\" at the beginning of a continuation line");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: &str = "[Unit]\nAfter=docker.service\n# words\n[Service]\nExecStart=/usr/bin/edge-docker run \\\n  # between\n  --rm x\n[Install]\nWantedBy=multi-user.target timers.target\nAlias=b.service\n";

    fn error(text: &str) -> String {
        parse("a.service", text).unwrap_err()
    }

    #[test]
    fn a_unit_and_its_drop_in_are_parsed() {
        let mut unit = parse("a.service", VALID).unwrap();
        let wanted: Vec<_> = unit.all(Key::WantedBy).collect();
        assert_eq!(wanted, ["multi-user.target", "timers.target"]);
        assert!(unit.all(Key::Alias).eq(["b.service"]));
        let file = "a.service.d/x.conf";
        unit.read(file, "[Install]\nWantedBy=\nWantedBy=paths.target\n")
            .unwrap();
        assert!(unit.all(Key::WantedBy).eq(["paths.target"]));
        let refused = unit.read(file, "[Service]\nExecStart=\nExecStart=/bin/sh\n");
        assert!(
            refused
                .unwrap_err()
                .starts_with("a.service.d/x.conf: line 3: ")
        );
    }

    #[test]
    fn only_edge_docker_is_started() {
        for value in [
            "/bin/sh -c x",
            "+/usr/bin/edge-docker x",
            "!/usr/bin/edge-docker",
            "!!/usr/bin/edge-docker",
            "-+/usr/bin/edge-docker",
            "@/usr/bin/edge-docker sh",
            "-@/usr/bin/edge-docker sh",
            "|/usr/bin/edge-docker",
            "\"/usr/bin/edge-docker\"",
            "/usr/bin/edge-docker2",
            "/usr/bin/../bin/sh",
            "%h/edge-docker",
            "edge-docker",
            "/usr/bin/edge-docker ps ; /bin/sh",
            "/usr/bin/edge-docker ps\t;\t/bin/sh",
            "/usr/bin/edge-docker ps \";\" /bin/sh",
            "/usr/bin/edge-docker\u{a0}ps",
            "-/bin/sh",
            ":/bin/sh",
        ] {
            for key in ["ExecStart", "ExecStartPre", "ExecStopPost", "ExecReload"] {
                let error = error(&format!("[Service]\n{key}={value}\n"));
                assert!(error.starts_with("a.service: line 2: "), "{error}");
            }
        }
        for value in ["-/usr/bin/edge-docker ps", ":-/usr/bin/edge-docker ps", ""] {
            let text = format!("[Service]\nExecStart = {value}\n");
            assert!(parse("a.service", &text).is_ok(), "{value}");
        }
    }

    #[test]
    fn keys_and_sections_that_are_not_listed_are_refused() {
        for text in [
            "[Service]\nEnvironment=LD_PRELOAD=/data/x.so",
            "[Service]\nEnvironmentFile=/data/x",
            "[Service]\nPassEnvironment=X",
            "[Service]\nExecSearchPath=/data",
            "[Service]\nRootDirectory=/data/x",
            "[Service]\nRootImage=/data/x",
            "[Service]\nBindPaths=/data/x:/usr/bin",
            "[Service]\nTemporaryFileSystem=/etc",
            "[Service]\nStandardOutput=file:/etc/passwd",
            "[Unit]\nOnFailure=poweroff.target",
            "[Unit]\nConflicts=sshd.service",
            "[Unit]\nFailureAction=poweroff",
            "[Unit]\nDefaultDependencies=no",
            "[Mount]\nWhat=/dev/sda",
            "ExecStart=/bin/sh",
            "[Socket]\nExecStartPost=/bin/sh",
            "[Service]\nUser=edge",
            "nonsense",
            "[Service]\n.include /x",
            "[service]\nExecStart=/bin/sh",
            "[Service]\nEXECSTART=/bin/sh",
            "[Service]\nExecStart\u{a0}=/usr/bin/edge-docker",
            "\u{feff}[Service]\nExecStart=/usr/bin/edge-docker",
        ] {
            assert!(!error(text).is_empty());
        }
    }

    /// Files in which systemd finds a line that a simpler parser would miss.
    #[test]
    fn ambiguous_lines_are_refused() {
        for text in [
            "[Service]\n\\\nExecStart=/bin/sh",
            "[Service]\nSyslogIdentifier=x\\\\\nExecStart=/bin/sh",
            "[Service]\nSyslogIdentifier=x\\ \nExecStart=/bin/sh",
            "[Service]\nSyslogIdentifier=x\\\t\nExecStart=/bin/sh",
            "[Service]\nSyslogIdentifier=x\rExecStart=/bin/sh",
            "[Service]\r\nExecStart=/usr/bin/edge-docker\r\n",
            "[Service]\nSyslogIdentifier=x\0ExecStart=/bin/sh",
            "[Service]\nSyslogIdentifier=x\u{b}ExecStart=/bin/sh",
            "[Service]\nSyslogIdentifier=x\\\n\nExecStart=/bin/sh",
            "[Service]\n#x\\\nExecStart=/bin/sh",
            "[Service]\nExecStart=/usr/bin/edge-docker ps \\\n; /bin/sh\n; /bin/sh \\\n  \\\n ; /bin/sh\nExecStart=/bin/sh",
        ] {
            assert!(parse("a.service", text).is_err(), "{text:?}");
        }
    }

    /// systemd keeps dependencies, and the first unit that a timer starts.
    #[test]
    fn an_empty_value_hides_nothing_that_systemd_keeps() {
        for (key, section, list) in [
            ("After", "Unit", Key::After),
            ("Before", "Unit", Key::Before),
            ("Wants", "Unit", Key::Needs),
            ("BindsTo", "Unit", Key::Needs),
            ("Unit", "Timer", Key::Fires),
        ] {
            let text = format!("[{section}]\n{key}=a.service\n{key}=\n{key}=b.service\n");
            let unit = parse("x.timer", &text).unwrap();
            assert!(unit.all(list).eq(["a.service", "b.service"]), "{key}");
        }
    }

    #[test]
    fn implied_units_are_named_after_the_unit() {
        let implied = |name: &str, text: &str| parse(name, text).unwrap().implied();
        let some = |name: &str| Some(name.to_string());
        assert_eq!(
            implied("a.timer", "[Timer]\nOnBootSec=1"),
            some("a.service")
        );
        assert_eq!(implied("a@.timer", ""), some("a@.service"));
        for yes in ["yes", "YES", "True", "1", "On", "y", "T"] {
            let text = format!("[Socket]\nAccept={yes}");
            assert_eq!(implied("a.socket", &text), some("a@.service"), "{yes}");
        }
        assert_eq!(implied("a.service", ""), None);
        assert_eq!(implied("a.path", "[Path]\nUnit=b.service"), None);
    }
}
