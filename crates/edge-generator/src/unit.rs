//! One unit: its file and its drop-ins, read as systemd reads them
//! (systemd.syntax(7)). Where systemd and a simpler reader could see different
//! lines (a carriage return, a backslash before a blank) the file is refused.

use crate::rules;

/// What a unit asks of its place in the system.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Unit {
    /// File name.
    pub name: String,
    /// Drop-ins, as paths below the folder.
    pub drop_ins: Vec<String>,
    /// Instances of this template that were asked for by links.
    pub instances: Vec<String>,
    /// `WantedBy=`.
    pub wanted_by: Vec<String>,
    /// `RequiredBy=`.
    pub required_by: Vec<String>,
    /// `Alias=`, and links that lead here.
    pub aliases: Vec<String>,
    /// `Also=`.
    pub also: Vec<String>,
    /// `DefaultInstance=` of a template.
    pub instance: Option<String>,
    /// Units that it starts when it fires: `Unit=` and `Service=`.
    pub starts: Vec<String>,
    /// Units that it pulls in: `Wants=`, `Requires=`, `BindsTo=`.
    pub needs: Vec<String>,
    /// `After=`.
    pub after: Vec<String>,
    /// `Before=`.
    pub before: Vec<String>,
    /// A socket with `Accept=yes`.
    pub accept: bool,
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
    /// Reads and judges one file of this unit, its own or a drop-in.
    ///
    /// # Errors
    /// The file, the line and what is wrong with it.
    pub fn read(&mut self, file: &str, text: &str) -> Result<(), String> {
        let mut section = String::new();
        for (number, line) in logical_lines(text).map_err(|(n, e)| at(file, n, &e))? {
            if let Some(header) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
                section = header.into();
                continue;
            }
            let (key, value) = line
                .split_once('=')
                .ok_or_else(|| at(file, number, "neither a section nor key=value"))?;
            let (key, value) = (strip(key), strip(value));
            let judged = rules::allowed(&section, key).and_then(|()| rules::value(key, value));
            judged.map_err(|e| at(file, number, &e))?;
            self.take(key, value);
        }
        Ok(())
    }

    fn take(&mut self, key: &str, value: &str) {
        let list = match key {
            "WantedBy" => &mut self.wanted_by,
            "RequiredBy" => &mut self.required_by,
            "Alias" => &mut self.aliases,
            "Also" => &mut self.also,
            "Unit" | "Service" => &mut self.starts,
            "Wants" | "Requires" | "BindsTo" => &mut self.needs,
            "After" => &mut self.after,
            "Before" => &mut self.before,
            "DefaultInstance" => {
                self.instance = Some(value.into());
                return;
            }
            "Accept" => {
                self.accept = matches!(value, "yes" | "true" | "1" | "on" | "y" | "t");
                return;
            }
            _ => return,
        };
        if value.is_empty() {
            list.clear();
        }
        let words = value.split([' ', '\t']).filter(|w| !w.is_empty());
        list.extend(words.map(String::from));
    }

    /// `foo@.service`: has no life of its own.
    pub fn is_template(&self) -> bool {
        self.name.contains("@.")
    }

    /// The unit that a timer, path or socket fires, said or implied.
    pub fn fires(&self) -> Vec<String> {
        let (stem, kind) = self.name.rsplit_once('.').unwrap_or((&self.name, ""));
        if kind == "service" || !self.starts.is_empty() {
            return self.starts.clone();
        }
        if kind == "socket" && self.accept {
            return vec![format!("{}@.service", stem.trim_end_matches('@'))];
        }
        vec![format!("{stem}.service")]
    }
}

fn at(file: &str, number: usize, what: &str) -> String {
    format!("{file}: line {number}: {what}")
}

/// Blanks as systemd strips them: no others of Unicode.
fn strip(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

type Lines = Vec<(usize, String)>;

/// Lines with their numbers: comments dropped, continuations joined.
fn logical_lines(text: &str) -> Result<Lines, (usize, String)> {
    let mut lines = Lines::new();
    let mut continued = false;
    for (index, raw) in text.split('\n').enumerate() {
        let odd = |c: char| c.is_control() && c != '\t';
        if raw.contains(odd) {
            return Err((index + 1, "holds a control character".into()));
        }
        if raw.ends_with("\\\\")
            || raw.trim_end_matches([' ', '\t']).len() != raw.len() && strip(raw).ends_with('\\')
        {
            return Err((index + 1, "does not end its backslashes".into()));
        }
        let line = strip(raw);
        if continued && line.starts_with(';') {
            // A comment, and for old versions of systemd a second command.
            return Err((index + 1, "a \";\" inside a continued line".into()));
        }
        if line.starts_with(['#', ';']) || (line.is_empty() && !continued) {
            continue;
        }
        let (part, more) = line.strip_suffix('\\').map_or((line, false), |l| (l, true));
        match lines.last_mut().filter(|_| continued) {
            Some((_, start)) => {
                start.push(' ');
                start.push_str(part);
            }
            None => lines.push((index + 1, part.to_string())),
        }
        continued = more;
    }
    for (_, line) in &mut lines {
        if strip(line).len() != line.len() {
            *line = strip(line).to_string();
        }
    }
    lines.retain(|(_, line)| !line.is_empty());
    Ok(lines)
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
        assert_eq!(unit.wanted_by, ["multi-user.target", "timers.target"]);
        assert_eq!(unit.aliases, ["b.service"]);
        let file = "a.service.d/x.conf";
        unit.read(file, "[Install]\nWantedBy=\nWantedBy=paths.target\n")
            .unwrap();
        assert_eq!(unit.wanted_by, ["paths.target"]);
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
        let fires = |name: &str, text: &str| parse(name, text).unwrap().fires();
        assert_eq!(fires("a.timer", "[Timer]\nOnBootSec=1"), ["a.service"]);
        assert_eq!(fires("a@.timer", ""), ["a@.service"]);
        assert_eq!(fires("a.path", "[Path]\nUnit=b.service"), ["b.service"]);
        assert_eq!(fires("a.socket", "[Socket]\nAccept=yes"), ["a@.service"]);
        assert_eq!(fires("a.service", ""), [""; 0]);
    }
}
