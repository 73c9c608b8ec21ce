//! Units of `/data/services`: the settings that name other units, and the faults of their
//! files.

use crate::environment::Environment;
use crate::keys::{self, Verdict};
use crate::lines::{self, Line};
use crate::{rewrite, values};

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
    /// `OnFailure=`: unit that is started if this unit fails.
    OnFailure,
    /// `Wants=`, `Requires=`, `Requisite=` or `BindsTo=`: unit that this unit pulls in.
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

/// Maximum number of faults of a unit that are reported.
const MAX_FAULTS: usize = 20;

/// Parsed unit. All values are in one list instead of a list for each key, to save memory
/// with ten thousand units.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Unit {
    /// File name in `/data/services`, for example `app.service`.
    pub name: Box<str>,
    values: Vec<(Key, Place, Box<str>)>,
    accept: bool,
    calendar: bool,
    /// Reasons for which the unit is refused, each with its file and line.
    faults: Vec<String>,
    /// Notes for the author of an accepted unit, each with its file and line.
    pub notes: Vec<String>,
    /// Variables for the container.
    environment: Environment,
    /// First line that sets or resets a variable.
    variables: Option<Place>,
    /// Whether a line sets a variable or is left out, so that the unit is written again.
    again: bool,
    /// Files of a service by their names, until [`Unit::finish`], and of a unit that is
    /// written again.
    files: Vec<(Box<str>, Box<str>)>,
}

/// Place of a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// Number of the drop-in, 0 for the main file.
    file: u16,
    /// Number of the line, 0 for a link.
    line: u32,
}

/// Parses and checks `text`, the main file of the unit `name`.
pub(crate) fn parse(name: &str, text: &str) -> Unit {
    let mut unit = Unit {
        name: name.into(),
        ..Unit::default()
    };
    unit.read(name, text);
    unit
}

impl Unit {
    /// Returns all values of `key` in the order of the files.
    pub(crate) fn all(&self, key: Key) -> impl Iterator<Item = &str> {
        self.placed(key).map(|(_, value)| value)
    }

    /// Returns all values of `key` with their places.
    pub(crate) fn placed(&self, key: Key) -> impl Iterator<Item = (Place, &str)> {
        self.values
            .iter()
            .filter(move |(k, ..)| *k == key)
            .map(|(_, place, value)| (*place, &**value))
    }

    /// Adds a value that no line of the unit sets, such as the name of a link.
    pub(crate) fn add(&mut self, key: Key, value: &str) {
        self.push(key, Place { file: 0, line: 0 }, value);
    }

    fn push(&mut self, key: Key, place: Place, value: &str) {
        // The list grows by one element, because most units have only two or three
        // values and doubling would waste memory.
        self.values.reserve_exact(1);
        self.values.push((key, place, value.into()));
    }

    /// Returns a fault with its place.
    pub(crate) fn fault(&self, place: Place, reason: &str) -> String {
        let number = usize::from(place.file).checked_sub(1);
        let file = number.and_then(|n| self.all(Key::DropIn).nth(n));
        let file = file.unwrap_or(&self.name);
        match place.line {
            0 => format!("{file}: {reason}"),
            line => format!("{file}: line {line}: {reason}"),
        }
    }

    /// Adds a reason for which the unit is refused.
    pub(crate) fn refuse(&mut self, fault: String) {
        self.faults.push(fault);
    }

    /// Returns the reasons for which the unit is refused, with those of `others`: all of
    /// a unit of a person, and the first ones of a file that is something else.
    pub(crate) fn faults(&self, others: Vec<String>) -> Vec<String> {
        let count = self.faults.len() + others.len();
        let faults = self.faults.iter().cloned().chain(others);
        let mut faults: Vec<_> = faults.take(MAX_FAULTS).collect();
        if count > MAX_FAULTS {
            faults.push(format!("{}: {} more faults", self.name, count - MAX_FAULTS));
        }
        faults
    }

    /// Parses and checks one file of this unit, the main file or a drop-in, and adds its
    /// values and its faults.
    pub(crate) fn read(&mut self, file: &str, text: &str) {
        let number = match file == &*self.name {
            true => 0,
            false => {
                self.add(Key::DropIn, file);
                u16::try_from(self.all(Key::DropIn).count()).unwrap_or(u16::MAX)
            }
        };
        if self.name.ends_with(".service") {
            self.files.reserve_exact(1);
            self.files.push((file.into(), text.into()));
        }
        // A section without a name is the beginning of the file, one that is `None` is
        // ignored, or has a fault already.
        let mut section = Some(String::new());
        lines::for_each(text, |line, content| {
            let line = u32::try_from(line).unwrap_or(u32::MAX);
            let place = Place { file: number, line };
            let checked = match (content, &section) {
                (Line::Section(name), _) => {
                    let checked = self.check_section(name);
                    section = (checked == Ok(true)).then(|| name.into());
                    checked.map(drop)
                }
                (_, None) => Ok(()),
                (Line::Assignment(key, value), Some(name)) => self.assign(place, name, key, value),
                (Line::Fault(reason), _) => Err(reason),
            };
            if let Err(reason) = checked {
                self.faults.push(self.fault(place, &reason));
            }
        });
    }

    /// Returns whether the settings of a section count; systemd ignores those of an
    /// extension.
    fn check_section(&self, name: &str) -> Result<bool, String> {
        if keys::is_extension(name) {
            return Ok(false);
        }
        keys::check_section(name)?;
        let (stem, kind) = self.name.rsplit_once('.').unwrap_or_default();
        let of_kind = ["Service", "Timer", "Path", "Socket"].contains(&name);
        if of_kind && !name.eq_ignore_ascii_case(kind) {
            let other = name.to_ascii_lowercase();
            return Err(format!(
                "section [{name}] belongs in a file of its own, {stem}.{other}"
            ));
        }
        Ok(true)
    }

    fn assign(
        &mut self,
        place: Place,
        section: &str,
        key: &str,
        value: &str,
    ) -> Result<(), String> {
        match keys::check(section, key) {
            Verdict::Allowed => {}
            Verdict::Renamed(note) => self.notes.push(self.fault(place, &note)),
            Verdict::LeftOut(note) => {
                self.notes.push(self.fault(place, &note));
                self.again = true;
                return Ok(());
            }
            Verdict::Refused(reason) => return Err(reason),
        }
        values::check(key, value)?;
        if matches!(key, "Environment" | "EnvironmentFile") {
            self.variables.get_or_insert(place);
            self.again = true;
            self.set_environment(place, key, value)?;
        }
        self.set(place, key, value);
        Ok(())
    }

    /// Completes a unit whose files are all read. With `signed_only`, the policy of the
    /// device lets nothing change what was signed.
    pub(crate) fn finish(&mut self, signed_only: bool) {
        if !self.again || !self.faults.is_empty() {
            self.files = Vec::new();
            return;
        }
        let Some(place) = self.variables.filter(|_| !self.environment.is_empty()) else {
            return self.write_again();
        };
        let mut creates = false;
        for (_, text) in &self.files {
            lines::for_each(text, |_, line| {
                creates |= matches!(line, Line::Assignment(key, value)
                    if key.starts_with("Exec") && rewrite::creates(value));
            });
        }
        let reason = if signed_only {
            "variables are part of what is signed on this device (\"run\": \"signed\"): write them \
             into env of app.yaml"
        } else if !creates {
            "variables reach a container only through edge-docker run or create, which no line of \
             this unit has: remove them, or set them where the container is created"
        } else {
            return self.write_again();
        };
        self.faults.push(self.fault(place, reason));
    }

    fn write_again(&mut self) {
        for (name, text) in std::mem::take(&mut self.files) {
            match rewrite::file(&name, &text, &self.environment) {
                Ok(written) => self.files.push((name, written.into())),
                Err(fault) => self.faults.push(fault),
            }
        }
    }

    /// Returns the names and texts of the files of a unit that is written again for systemd.
    /// A unit that is linked has none.
    pub(crate) fn written(&self) -> impl Iterator<Item = (&str, &str)> {
        self.files.iter().map(|(name, text)| (&**name, &**text))
    }

    fn set_environment(&mut self, place: Place, key: &str, value: &str) -> Result<(), String> {
        // A drop-in of one instance would reach all of them.
        let of_unit = |file: &str| file.split('/').next() == Some(&*format!("{}.d", self.name));
        let number = usize::from(place.file).checked_sub(1);
        let file = number.and_then(|n| self.all(Key::DropIn).nth(n));
        if file.is_some_and(|file| !of_unit(file)) {
            return Err(format!(
                "{key}= of one instance cannot be passed on: write it into {} with %i, or a unit for \
                 each",
                self.name
            ));
        }
        self.environment.set(key, value)
    }

    fn set(&mut self, place: Place, key: &str, value: &str) {
        let list = match key {
            "WantedBy" => Key::WantedBy,
            "RequiredBy" => Key::RequiredBy,
            "Alias" => Key::Alias,
            "Also" => Key::Also,
            "Unit" | "Service" => Key::Fires,
            "OnFailure" => Key::OnFailure,
            "Wants" | "Requires" | "Requisite" | "BindsTo" => Key::Needs,
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
        let kept = matches!(
            list,
            Key::After | Key::Before | Key::Needs | Key::Fires | Key::OnFailure
        );
        if (value.is_empty() && !kept) || list == Key::DefaultInstance {
            self.values.retain(|(key, ..)| *key != list);
        }
        for item in value.split([' ', '\t']).filter(|item| !item.is_empty()) {
            self.push(list, place, item);
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

#[cfg(test)]
mod tests;
