//! Order in which the units of the device image start: the units that a boot starts, and
//! the edges between them, with the dependencies that systemd adds by itself.

use std::collections::{HashMap, HashSet};

use super::Image;
use super::settings::Settings;
use crate::graph::Graph;
use crate::names::{Id, Names};

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

/// Names of the image that the order of its units depends on.
pub(crate) struct Ordering {
    /// Units that were read and have default dependencies.
    with_defaults: HashSet<Id>,
    /// Names that are links to other units of the image.
    aliases: HashMap<Id, Id>,
}

/// Units by their names, `None` for one that the image does not have.
type Read = HashMap<Id, Option<Settings>>;

impl Ordering {
    /// Adds to `graph` the order of the units that a boot starts, of `more`, and of all that
    /// they start. An ordering has no effect on a unit that nothing starts.
    pub(super) fn read<'a>(
        image: &Image,
        graph: &mut Graph,
        more: impl Iterator<Item = &'a str>,
    ) -> Self {
        let mut ordering = Self {
            with_defaults: HashSet::new(),
            aliases: image.aliases(&mut graph.names),
        };
        let mut read = Read::new();
        let mut left = MAX_UNITS;
        // The units of the boot come first: a unit of /data/services that names thousands
        // of instances must not use up the limit before them.
        let boot = BOOT.map(|name| graph.names.id(name)).to_vec();
        ordering.collect(image, boot, &mut left, &mut read, &mut graph.names);
        let more = more.map(|name| graph.names.id(name)).collect();
        ordering.collect(image, more, &mut left, &mut read, &mut graph.names);
        for (name, settings) in &read {
            let Some(settings) = settings else { continue };
            let text = graph.names.text(*name);
            ordering.add_stated(graph, *name, settings);
            if settings.default_dependencies {
                ordering.add_implied(graph, *name, &defaults(&text, settings.calendar));
            }
            if settings.default_dependencies && text.ends_with(".target") {
                ordering.add_target(graph, *name, settings, &read);
            }
        }
        ordering
    }

    /// Reads the units of `queue` and all that they start.
    fn collect(
        &mut self,
        image: &Image,
        mut queue: Vec<Id>,
        left: &mut usize,
        read: &mut Read,
        names: &mut Names,
    ) {
        while let Some(name) = queue.pop() {
            let real = self.name(name);
            if *left == 0 || read.contains_key(&real) {
                continue;
            }
            let settings = image.settings(&names.text(real), names);
            if let Some(settings) = &settings {
                *left -= 1;
                queue.extend_from_slice(&settings.pulls_in);
                queue.extend_from_slice(&settings.fires);
                queue.extend_from_slice(&settings.mounts);
                if settings.default_dependencies {
                    self.with_defaults.insert(real);
                }
            }
            read.insert(real, settings);
        }
    }

    /// Returns the unit to which a name of the image refers.
    pub(crate) fn name(&self, name: Id) -> Id {
        self.aliases.get(&name).copied().unwrap_or(name)
    }

    /// Returns whether the image has this unit, with default dependencies.
    pub(crate) fn has_defaults(&self, name: Id) -> bool {
        self.with_defaults.contains(&self.name(name))
    }

    fn edge(&self, graph: &mut Graph, first: Id, second: Id) {
        graph.edge(self.name(first), self.name(second));
    }

    fn add_stated(&self, graph: &mut Graph, name: Id, settings: &Settings) {
        // A mount names itself, too, which is no edge.
        for first in settings.after.iter().chain(&settings.mounts) {
            self.edge(graph, *first, name);
        }
        for second in settings.before.iter().chain(&settings.fires) {
            self.edge(graph, name, *second);
        }
    }

    fn add_implied(&self, graph: &mut Graph, name: Id, defaults: &Defaults) {
        for first in defaults.after {
            let first = graph.names.id(first);
            self.edge(graph, first, name);
        }
        for second in defaults.before {
            let second = graph.names.id(second);
            self.edge(graph, name, second);
        }
    }

    /// A target waits for what it starts, if both have default dependencies, unless that
    /// waits for the target.
    fn add_target(&self, graph: &mut Graph, target: Id, settings: &Settings, read: &Read) {
        let target_name = graph.names.text(target);
        for name in &settings.pulls_in {
            let name = self.name(*name);
            let Some(Some(other)) = read.get(&name) else {
                continue;
            };
            let waits = other.after.iter().any(|first| self.name(*first) == target)
                || defaults(&graph.names.text(name), other.calendar)
                    .after
                    .contains(&&*target_name);
            if other.default_dependencies && !waits && !settings.before.contains(&name) {
                self.edge(graph, name, target);
            }
        }
    }
}

/// systemd's default dependencies of a unit.
pub(crate) struct Defaults {
    /// Targets before the unit.
    pub(crate) after: &'static [&'static str],
    /// Targets after the unit.
    pub(crate) before: &'static [&'static str],
}

/// Returns systemd's default dependencies of a unit; `calendar` is for a timer that waits
/// for the clock.
pub(crate) fn defaults(name: &str, calendar: bool) -> Defaults {
    let (after, before): (&[&str], &[&str]) = match name.rsplit_once('.').map(|(_, kind)| kind) {
        Some("service") => (&["sysinit.target", "basic.target"], &[]),
        Some("socket") => (&["sysinit.target"], &["sockets.target"]),
        Some("path") => (&["sysinit.target"], &["paths.target"]),
        Some("timer") if calendar => (
            &["sysinit.target", "time-set.target", "time-sync.target"],
            &["timers.target"],
        ),
        Some("timer") => (&["sysinit.target"], &["timers.target"]),
        Some("mount" | "automount") => (&["local-fs-pre.target"], &["local-fs.target"]),
        _ => (&[], &[]),
    };
    Defaults { after, before }
}

/// Returns the names of the mounts on the way to a path: `var.mount` and `var-log.mount`
/// for `/var/log`.
pub(crate) fn mounts(path: &str) -> impl Iterator<Item = String> {
    let mut name = String::new();
    let parts = path.split('/').filter(|part| !part.is_empty());
    parts.map(move |part| {
        if !name.is_empty() {
            name.push('-');
        }
        name.push_str(&part.replace('-', "\\x2d"));
        format!("{name}.mount")
    })
}
