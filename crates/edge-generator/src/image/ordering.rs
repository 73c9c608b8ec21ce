//! Order in which the units of the device image start: the units that a boot starts, and
//! the edges between them, with the dependencies that systemd adds by itself.

use std::collections::{HashMap, HashSet};

use super::Image;
use super::settings::Settings;

/// Units that every boot starts.
const BOOT: [&str; 8] = [
    "default.target",
    "multi-user.target",
    "graphical.target",
    "basic.target",
    "sysinit.target",
    "sockets.target",
    "timers.target",
    "paths.target",
];

/// Maximum number of units that are read. An image has fewer than 300.
const MAX_UNITS: usize = 2_000;

/// Order of the units of the image.
#[derive(Default)]
pub(crate) struct Ordering {
    /// Pairs of a unit and one that starts after it.
    pub(crate) edges: Vec<(String, String)>,
    /// Names of the read units that have default dependencies.
    with_defaults: HashSet<String>,
    /// Names that are links to other units of the image.
    aliases: HashMap<String, String>,
}

impl Ordering {
    /// Reads the units that a boot starts, `more`, and all that they start. An ordering
    /// has no effect on a unit that nothing starts.
    pub(super) fn read<'a>(image: &Image, more: impl Iterator<Item = &'a str>) -> Self {
        let mut ordering = Self {
            aliases: image.aliases(),
            ..Self::default()
        };
        let mut read: HashMap<String, Settings> = HashMap::new();
        let mut queue: Vec<String> = BOOT.iter().copied().chain(more).map(String::from).collect();
        while let Some(name) = queue.pop() {
            let real = ordering.name(&name).to_string();
            if read.contains_key(&real) || read.len() == MAX_UNITS {
                continue;
            }
            let Some(settings) = image.settings(&real) else {
                continue;
            };
            queue.extend_from_slice(&settings.pulls_in);
            queue.extend(fired(&real, &settings));
            queue.extend(settings.paths.iter().flat_map(|path| mounts(path)));
            if settings.default_dependencies {
                ordering.with_defaults.insert(real.clone());
            }
            read.insert(real, settings);
        }
        for (name, settings) in &read {
            ordering.add_stated(name, settings);
            ordering.add_implied(name, settings);
            if name.ends_with(".target") {
                ordering.add_target(name, settings, &read);
            }
        }
        ordering
    }

    /// Returns the name of the unit to which a name of the image refers.
    pub(crate) fn name<'a>(&'a self, name: &'a str) -> &'a str {
        self.aliases.get(name).map_or(name, String::as_str)
    }

    /// Returns whether the image has this unit, with default dependencies.
    pub(crate) fn has_defaults(&self, name: &str) -> bool {
        self.with_defaults.contains(self.name(name))
    }

    fn edge(&mut self, first: &str, second: &str) {
        let names = [first, second].map(|name| self.name(name).to_string());
        let [first, second] = names;
        self.edges.push((first, second));
    }

    fn add_stated(&mut self, name: &str, settings: &Settings) {
        for first in &settings.after {
            self.edge(first, name);
        }
        for second in &settings.before {
            self.edge(name, second);
        }
        for second in fired(name, settings) {
            self.edge(name, &second);
        }
        for mount in settings.paths.iter().flat_map(|path| mounts(path)) {
            // A mount names itself, too.
            if mount != name {
                self.edge(&mount, name);
            }
        }
    }

    fn add_implied(&mut self, name: &str, settings: &Settings) {
        if settings.default_dependencies {
            for (first, second) in defaults(name, settings.calendar) {
                self.edge(first, second);
            }
        }
    }

    /// A target waits for what it starts, if both have default dependencies, unless that
    /// waits for the target.
    fn add_target(&mut self, target: &str, settings: &Settings, read: &HashMap<String, Settings>) {
        if !settings.default_dependencies {
            return;
        }
        for name in &settings.pulls_in {
            let name = self.name(name).to_string();
            let waits = |s: &Settings| {
                let stated = s.after.iter().any(|first| self.name(first) == target);
                stated || defaults(&name, s.calendar).contains(&(target, &name))
            };
            let other = read.get(&name).filter(|s| s.default_dependencies);
            if other.is_some_and(|s| !waits(s)) && !settings.before.contains(&name) {
                self.edge(&name, target);
            }
        }
    }
}

/// Returns the edges of systemd's default dependencies between a unit and targets.
pub(crate) fn defaults(name: &str, calendar: bool) -> Vec<(&str, &str)> {
    let after = |first| (first, name);
    let before = |second| (name, second);
    let mut edges = match kind(name) {
        "service" => vec![after("sysinit.target"), after("basic.target")],
        "socket" => vec![after("sysinit.target"), before("sockets.target")],
        "path" => vec![after("sysinit.target"), before("paths.target")],
        "timer" => vec![after("sysinit.target"), before("timers.target")],
        "mount" | "automount" => vec![after("local-fs-pre.target"), before("local-fs.target")],
        _ => Vec::new(),
    };
    if calendar {
        edges.extend([after("time-set.target"), after("time-sync.target")]);
    }
    edges
}

/// Returns the units that a timer, path or socket starts.
fn fired(name: &str, settings: &Settings) -> Vec<String> {
    let Some((stem, kind)) = name.rsplit_once('.') else {
        return Vec::new();
    };
    match kind {
        "automount" => vec![format!("{stem}.mount")],
        "timer" | "path" | "socket" if !settings.fires.is_empty() => settings.fires.clone(),
        "socket" if settings.accept => vec![format!("{stem}@.service")],
        "timer" | "path" | "socket" => vec![format!("{stem}.service")],
        _ => Vec::new(),
    }
}

/// Returns the names of the mounts on the way to a path: `var-log.mount` and `var.mount`
/// for `/var/log`.
pub(crate) fn mounts(path: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut name = String::new();
    for part in path.split('/').filter(|part| !part.is_empty()) {
        if !name.is_empty() {
            name.push('-');
        }
        name.push_str(&part.replace('-', "\\x2d"));
        names.push(format!("{name}.mount"));
    }
    names
}

fn kind(name: &str) -> &str {
    name.rsplit_once('.').map_or("", |(_, kind)| kind)
}
