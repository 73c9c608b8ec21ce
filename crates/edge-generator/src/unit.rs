//! One unit: its file and its drop-ins, read as systemd reads them
//! (systemd.syntax(7)). Where systemd and a simpler reader could see different
//! lines (a carriage return, a backslash before a blank) the file is refused.

use crate::rules;

/// What a unit says of its place in the system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// `WantedBy=`.
    WantedBy,
    /// `RequiredBy=`.
    RequiredBy,
    /// `Alias=`, and links that lead here.
    Alias,
    /// `Also=`.
    Also,
    /// `DefaultInstance=` of a template.
    DefaultInstance,
    /// Units that it starts when it fires: `Unit=` and `Service=`.
    Fires,
    /// Units that it pulls in: `Wants=`, `Requires=`, `BindsTo=`.
    Needs,
    /// `After=`.
    After,
    /// `Before=`.
    Before,
    /// A drop-in, as a path below the directory.
    DropIn,
    /// An instance of this template that was asked for by a link.
    Instance,
}

/// A unit. There may be ten thousand: one list, not one for each key.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Unit {
    /// File name.
    pub name: Box<str>,
    said: Vec<(Key, Box<str>)>,
    accept: bool,
}

/// Reads and judges the text of a unit's own file.
///
/// # Errors
/// The line and what is wrong with it.
pub fn parse(name: &str, text: &str) -> Result<Unit, String> {
    let mut unit = Unit {
        name: name.into(),
        ..Unit::default()
    };
    unit.read(name, text)?;
    Ok(unit)
}

impl Unit {
    /// Everything said for `key`.
    pub fn all(&self, key: Key) -> impl Iterator<Item = &str> {
        self.said
            .iter()
            .filter(move |(k, _)| *k == key)
            .map(|(_, value)| &**value)
    }

    /// Says one thing more.
    pub fn add(&mut self, key: Key, value: &str) {
        self.said.reserve_exact(1);
        self.said.push((key, value.into()));
    }

    /// Reads and judges one file of this unit, its own or a drop-in.
    ///
    /// # Errors
    /// The file, the line and what is wrong with it.
    pub fn read(&mut self, file: &str, text: &str) -> Result<(), String> {
        let mut section = String::new();
        let read = lines(text, |line| {
            if let Some(header) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
                header.clone_into(&mut section);
                return Ok(());
            }
            let (key, value) = line
                .split_once('=')
                .ok_or("neither a section nor key=value")?;
            let (key, value) = (strip(key), strip(value));
            rules::allowed(&section, key)?;
            rules::value(key, value)?;
            self.take(key, value);
            Ok(())
        });
        read.map_err(|(number, why)| at(file, number, &why))
    }

    fn take(&mut self, key: &str, value: &str) {
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
            "Accept" => {
                self.accept = matches!(value, "yes" | "true" | "1" | "on" | "y" | "t");
                return;
            }
            _ => return,
        };
        if value.is_empty() || list == Key::DefaultInstance {
            self.said.retain(|(key, _)| *key != list);
        }
        for word in value.split([' ', '\t']).filter(|w| !w.is_empty()) {
            self.add(list, word);
        }
    }

    /// `foo@.service`: has no life of its own.
    pub fn is_template(&self) -> bool {
        self.name.contains("@.")
    }

    /// The unit that a timer, path or socket fires without saying which.
    pub fn implied(&self) -> Option<String> {
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

fn at(file: &str, number: usize, what: &str) -> String {
    format!("{file}: line {number}: {what}")
}

/// Blanks as systemd strips them: no others of Unicode.
fn strip(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

/// Calls `each` with every line and its number: comments dropped, continuations
/// joined.
fn lines(
    text: &str,
    mut each: impl FnMut(&str) -> Result<(), String>,
) -> Result<(), (usize, String)> {
    let mut joined = String::new();
    let mut begun = None;
    for (index, raw) in text.split('\n').enumerate() {
        let number = index + 1;
        sane(raw, begun.is_some()).map_err(|why| (number, why.into()))?;
        let line = strip(raw);
        if line.starts_with(['#', ';']) || (line.is_empty() && begun.is_none()) {
            continue;
        }
        let part = line.strip_suffix('\\');
        if begun.is_none() && part.is_none() {
            each(line).map_err(|why| (number, why))?;
            continue;
        }
        let first = *begun.get_or_insert(number);
        joined.push_str(part.unwrap_or(line));
        joined.push(' ');
        if part.is_none() {
            whole(&joined, first, &mut each)?;
            joined.clear();
            begun = None;
        }
    }
    begun.map_or(Ok(()), |first| whole(&joined, first, &mut each))
}

fn whole(
    joined: &str,
    first: usize,
    each: &mut impl FnMut(&str) -> Result<(), String>,
) -> Result<(), (usize, String)> {
    match strip(joined) {
        "" => Ok(()),
        line => each(line).map_err(|why| (first, why)),
    }
}

/// Refuses what could be read in two ways.
fn sane(raw: &str, continued: bool) -> Result<(), &'static str> {
    if raw.contains(|c: char| c.is_control() && c != '\t') {
        return Err("holds a control character");
    }
    let line = strip(raw);
    if line.ends_with("\\\\") || (line.ends_with('\\') && !raw.ends_with('\\')) {
        return Err("does not end its backslashes");
    }
    if continued && line.starts_with(';') {
        // A comment, and for old versions of systemd a second command.
        return Err("a \";\" inside a continued line");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "[Unit]\nAfter=docker.service\n# words\n[Service]\nExecStart=/usr/bin/edge-docker run \\\n  # between\n  --rm x\n[Install]\nWantedBy=multi-user.target timers.target\nAlias=b.service\n";

    fn refused(text: &str) -> String {
        parse("a.service", text).unwrap_err()
    }

    #[test]
    fn a_good_unit_and_its_drop_in() {
        let mut unit = parse("a.service", GOOD).unwrap();
        let wanted: Vec<_> = unit.all(Key::WantedBy).collect();
        assert_eq!(wanted, ["multi-user.target", "timers.target"]);
        assert!(unit.all(Key::Alias).eq(["b.service"]));
        let file = "a.service.d/x.conf";
        unit.read(file, "[Install]\nWantedBy=\nWantedBy=paths.target\n")
            .unwrap();
        assert!(unit.all(Key::WantedBy).eq(["paths.target"]));
        let said = unit.read(file, "[Service]\nExecStart=\nExecStart=/bin/sh\n");
        assert!(
            said.unwrap_err()
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
                let said = refused(&format!("[Service]\n{key}={value}\n"));
                assert!(said.starts_with("a.service: line 2: "), "{said}");
            }
        }
        for value in ["-/usr/bin/edge-docker ps", ":-/usr/bin/edge-docker ps", ""] {
            let text = format!("[Service]\nExecStart = {value}\n");
            assert!(parse("a.service", &text).is_ok(), "{value}");
        }
    }

    #[test]
    fn what_is_not_on_the_list_is_refused() {
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
            assert!(!refused(text).is_empty());
        }
    }

    /// Files in which systemd sees a line that a simpler reader does not.
    #[test]
    fn lines_are_those_of_systemd() {
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

    #[test]
    fn what_a_unit_fires() {
        let implied = |name: &str, text: &str| parse(name, text).unwrap().implied();
        let some = |name: &str| Some(name.to_string());
        assert_eq!(
            implied("a.timer", "[Timer]\nOnBootSec=1"),
            some("a.service")
        );
        assert_eq!(implied("a@.timer", ""), some("a@.service"));
        assert_eq!(
            implied("a.socket", "[Socket]\nAccept=yes"),
            some("a@.service")
        );
        assert_eq!(implied("a.service", ""), None);
        assert_eq!(implied("a.path", "[Path]\nUnit=b.service"), None);
    }
}
