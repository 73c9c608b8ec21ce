//! Settings of a unit of the device image that decide when it starts. Unlike units of
//! `/data/services`, these are trusted: what this parser does not know is skipped. Every
//! boot reads some 250 files, so that lines and names are copied only where they are kept.

use std::borrow::Cow;

use super::mounts;
use crate::names::{Id, Names};

/// Settings of one unit, from its file and its drop-ins.
#[derive(Debug)]
pub(super) struct Settings {
    /// `After=`: units that start before this one.
    pub(super) after: Vec<Id>,
    /// `Before=`: units that start after this one.
    pub(super) before: Vec<Id>,
    /// `Wants=`, `Requires=` and the like: units that start together with this one.
    pub(super) pulls_in: Vec<Id>,
    /// Units that this timer, path, socket or automount starts.
    pub(super) fires: Vec<Id>,
    /// Mounts on the way to the paths of this unit: `RequiresMountsFor=`, and `Where=`.
    pub(super) mounts: Vec<Id>,
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
            mounts: Vec::new(),
            default_dependencies: true,
            accept: false,
            calendar: false,
        }
    }
}

impl Settings {
    /// Adds the settings of one file. `instance` takes the place of `%i`.
    pub(super) fn read(&mut self, text: &str, instance: &str, names: &mut Names) {
        let mut section = String::new();
        each_logical_line(text, |line| {
            if let Some(header) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
                header.clone_into(&mut section);
            } else if let Some((key, value)) = line.split_once('=') {
                self.set((&section, key.trim()), value.trim(), instance, names);
            }
        });
    }

    /// Completes the settings of the unit `name`, whose files are all read, with the unit
    /// that a timer, path, socket or automount starts if none is stated.
    pub(super) fn finish(&mut self, name: &str, names: &mut Names) {
        let (stem, kind) = name.rsplit_once('.').unwrap_or_default();
        let implied = match kind {
            "automount" => format!("{stem}.mount"),
            "timer" | "path" | "socket" if !self.fires.is_empty() => return,
            "socket" if self.accept => format!("{stem}@.service"),
            "timer" | "path" | "socket" => format!("{stem}.service"),
            _ => return self.fires.clear(),
        };
        self.fires = vec![names.id(&implied)];
    }

    fn set(&mut self, key: (&str, &str), value: &str, instance: &str, names: &mut Names) {
        let list = match key {
            ("Unit", "After") => &mut self.after,
            ("Unit", "Before") => &mut self.before,
            ("Unit", "Wants" | "Requires" | "Requisite" | "BindsTo" | "Upholds")
            | ("Service", "Sockets") => &mut self.pulls_in,
            ("Timer" | "Path", "Unit") | ("Socket", "Service") => &mut self.fires,
            ("Unit", "RequiresMountsFor") | ("Mount" | "Automount", "Where") => {
                for path in each_name(value, instance) {
                    self.mounts
                        .extend(mounts(&path).map(|mount| names.id(&mount)));
                }
                return;
            }
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
                self.after.push(names.id("dbus.socket"));
                return;
            }
            _ => return,
        };
        // An empty value does not reset these lists, see systemd.unit(5).
        list.extend(each_name(value, instance).map(|name| names.id(&name)));
    }
}

/// Returns the names of a value. Those with other specifiers than the instance are skipped.
fn each_name<'a>(value: &'a str, instance: &str) -> impl Iterator<Item = Cow<'a, str>> {
    let names = value.split_ascii_whitespace();
    let names = names.map(move |name| match name.contains('%') {
        true => Cow::Owned(name.replace("%i", instance).replace("%I", instance)),
        false => Cow::Borrowed(name),
    });
    names.filter(|name| !name.contains('%'))
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
        let (mut settings, mut names) = (Settings::default(), Names::default());
        let text = "[Unit]\nAfter=a.service \\\n# between\n  b@%i.service\nAfter=\n\
             Before = c.target\nRequires=d.mount\nUnknown=x\nDefaultDependencies=No\n\
             RequiresMountsFor=/data/x-y\n[Install]\nAfter=e.service\nWantedBy=f.target\n\
             [Timer]\nOnCalendar=daily\nUnit=g.service\n";
        settings.read(text, "one", &mut names);
        settings.finish("h.timer", &mut names);
        let texts = |ids: &[Id]| ids.iter().map(|id| names.text(*id)).collect::<Vec<_>>();
        for (found, expected) in [
            (&settings.after, &["a.service", "b@one.service"][..]),
            (&settings.before, &["c.target"]),
            (&settings.pulls_in, &["d.mount"]),
            (&settings.fires, &["g.service"]),
            (&settings.mounts, &["data.mount", "data-x\\x2dy.mount"]),
        ] {
            assert_eq!(texts(found).join(" "), expected.join(" "));
        }
        assert!(!settings.default_dependencies && settings.calendar && !settings.accept);
        let text = "[Unit]\nDefaultDependencies=yes\n[Socket]\nAccept=yes";
        settings.read(text, "", &mut names);
        assert!(settings.default_dependencies && settings.accept);
        settings.read(
            "no section, \u{0} and a backslash at the end \\",
            "",
            &mut names,
        );
    }

    #[test]
    fn units_that_others_start_are_known() {
        for (name, text, fires) in [
            ("a.timer", "", "a.service"),
            ("a.socket", "[Socket]\nAccept=yes", "a@.service"),
            ("a.socket", "[Socket]\nService=b.service", "b.service"),
            ("a.automount", "", "a.mount"),
            ("a.service", "[Timer]\nUnit=b.service", ""),
        ] {
            let (mut settings, mut names) = (Settings::default(), Names::default());
            settings.read(text, "", &mut names);
            settings.finish(name, &mut names);
            let found = settings.fires.iter().map(|id| names.text(*id));
            assert_eq!(found.collect::<Vec<_>>().join(" "), fires, "{name}");
        }
    }
}
