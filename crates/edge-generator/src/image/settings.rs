//! Settings of a unit of the device image that decide when it starts. Unlike units of
//! `/data/services`, these are trusted: what this parser does not know is skipped. Every
//! boot reads some 250 files, so that lines and names are copied only where they are kept.

use std::borrow::Cow;

/// Settings of one unit, from its file and its drop-ins.
#[derive(Debug)]
pub(super) struct Settings {
    /// `After=`: units that start before this one.
    pub(super) after: Vec<String>,
    /// `Before=`: units that start after this one.
    pub(super) before: Vec<String>,
    /// `Wants=`, `Requires=` and the like: units that start together with this one.
    pub(super) pulls_in: Vec<String>,
    /// `Unit=` of a timer or path, `Service=` of a socket: unit that this one starts.
    pub(super) fires: Vec<String>,
    /// Paths whose mounts come before this unit: `RequiresMountsFor=`, and `Where=`.
    pub(super) paths: Vec<String>,
    /// Whether systemd adds its default dependencies.
    pub(super) default_dependencies: bool,
    /// `Accept=`: the socket starts instances of a template.
    pub(super) accept: bool,
    /// Whether the timer waits for the clock.
    pub(super) calendar: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            after: Vec::new(),
            before: Vec::new(),
            pulls_in: Vec::new(),
            fires: Vec::new(),
            paths: Vec::new(),
            default_dependencies: true,
            accept: false,
            calendar: false,
        }
    }
}

impl Settings {
    /// Adds the settings of one file. `instance` takes the place of `%i`.
    pub(super) fn read(&mut self, text: &str, instance: &str) {
        let mut section = String::new();
        each_logical_line(text, |line| {
            if let Some(header) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
                header.clone_into(&mut section);
            } else if let Some((key, value)) = line.split_once('=') {
                self.set(&section, key.trim(), value.trim(), instance);
            }
        });
    }

    fn set(&mut self, section: &str, key: &str, value: &str, instance: &str) {
        let list = match (section, key) {
            ("Unit", "After") => &mut self.after,
            ("Unit", "Before") => &mut self.before,
            ("Unit", "Wants" | "Requires" | "Requisite" | "BindsTo" | "Upholds")
            | ("Service", "Sockets") => &mut self.pulls_in,
            ("Timer" | "Path", "Unit") | ("Socket", "Service") => &mut self.fires,
            ("Unit", "RequiresMountsFor") | ("Mount" | "Automount", "Where") => &mut self.paths,
            ("Unit", "DefaultDependencies") => {
                self.default_dependencies = !is_no(value);
                return;
            }
            ("Socket", "Accept") => {
                self.accept = !value.is_empty() && !is_no(value);
                return;
            }
            ("Timer", "OnCalendar") => {
                self.calendar = !value.is_empty();
                return;
            }
            ("Service", "Type") if value == "dbus" => {
                self.after.push("dbus.socket".into());
                return;
            }
            _ => return,
        };
        // An empty value does not reset these lists, see systemd.unit(5).
        for name in value.split_ascii_whitespace() {
            let name = match name.contains('%') {
                true => Cow::Owned(name.replace("%i", instance).replace("%I", instance)),
                false => Cow::Borrowed(name),
            };
            if !name.contains('%') {
                list.push(name.into_owned());
            }
        }
    }
}

fn is_no(value: &str) -> bool {
    ["no", "false", "off", "0", "n", "f"]
        .iter()
        .any(|no| value.eq_ignore_ascii_case(no))
}

/// Calls `each` with the lines that are neither empty nor comments, continuation lines
/// joined.
fn each_logical_line(text: &str, mut each: impl FnMut(&str)) {
    let mut joined = String::new();
    for line in text.lines().map(str::trim) {
        if line.starts_with(['#', ';']) {
            continue;
        }
        if let Some(part) = line.strip_suffix('\\') {
            joined.push_str(part);
            joined.push(' ');
        } else if !joined.is_empty() {
            joined.push_str(line);
            each(joined.trim());
            joined.clear();
        } else if !line.is_empty() {
            each(line);
        }
    }
    if !joined.is_empty() {
        each(&joined);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_of_all_sections_are_read() {
        let mut settings = Settings::default();
        let text = "[Unit]\nAfter=a.service \\\n# between\n  b@%i.service\nAfter=\n\
             Before = c.target\nRequires=d.mount\nUnknown=x\nDefaultDependencies=No\n\
             RequiresMountsFor=/data/x\n[Install]\nAfter=e.service\nWantedBy=f.target\n\
             [Timer]\nOnCalendar=daily\nUnit=g.service\n";
        settings.read(text, "one");
        assert_eq!(settings.after, ["a.service", "b@one.service"]);
        assert_eq!(settings.before, ["c.target"]);
        assert_eq!(settings.pulls_in, ["d.mount"]);
        assert_eq!(settings.fires, ["g.service"]);
        assert_eq!(settings.paths, ["/data/x"]);
        assert!(!settings.default_dependencies && settings.calendar && !settings.accept);
        settings.read("[Unit]\nDefaultDependencies=yes\n[Socket]\nAccept=yes", "");
        assert!(settings.default_dependencies && settings.accept);
        settings.read("no section, \u{0} and a backslash at the end \\", "");
    }
}
