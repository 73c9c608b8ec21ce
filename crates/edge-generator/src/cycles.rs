//! Detection of ordering cycles between units. systemd breaks a cycle by dropping an
//! arbitrary job, possibly one that the boot needs.

use std::collections::{HashMap, HashSet};

use crate::graph::Graph;
use crate::image::{Image, Ordering, defaults, mounts};
use crate::names::Id;
use crate::unit::{Key, Unit};
use crate::units::{Units, owned};

/// Maximum number of circles that are searched for their shortest form.
const MAX_SHOWN: usize = 20;

/// Unit of `/data/services` that waits for itself.
pub(crate) struct Member {
    /// File name of the unit.
    pub(crate) name: String,
    /// Circle from the unit to itself, each unit before the one that waits for it; empty
    /// for all but the first members.
    pub(crate) circle: Vec<String>,
}

/// Returns the units of `/data/services` on a cycle of `After=` and `Before=`, including
/// the units of the device image and systemd's default dependencies.
pub(crate) fn members(units: &Units, image: &Image) -> Vec<Member> {
    if units.is_empty() {
        return Vec::new();
    }
    let names = OwnNames::new(units);
    let stated = |unit| Unit::all(unit, Key::After).chain(Unit::all(unit, Key::Needs));
    let foreign: HashSet<&str> = units
        .values()
        .flat_map(stated)
        .filter(|name| names.find(name).is_none())
        .collect();
    let mut graph = Graph::default();
    let ordering = image.ordering(&mut graph, foreign.into_iter());
    for unit in units.values() {
        add(&mut graph, unit, &names, &ordering);
    }
    let cyclic = graph.cyclic();
    let ours = cyclic.iter().filter(|name| units.contains_key(**name));
    ours.enumerate()
        .map(|(number, name)| Member {
            name: (*name).into(),
            circle: if number < MAX_SHOWN {
                graph.circle(name)
            } else {
                Vec::new()
            },
        })
        .collect()
}

/// Names of the units of `/data/services`.
struct OwnNames<'a> {
    units: &'a Units,
    aliases: HashMap<&'a str, &'a str>,
}

impl<'a> OwnNames<'a> {
    fn new(units: &'a Units) -> Self {
        let named = |unit: &'a Unit| unit.all(Key::Alias).map(|alias| (alias, &*unit.name));
        Self {
            units,
            aliases: units.values().flat_map(named).collect(),
        }
    }

    /// Returns the unit of this name, alias, or of which it is an instance.
    fn find(&self, name: &str) -> Option<&'a str> {
        let unit = owned(name, self.units).map(|unit| &*unit.name);
        unit.or_else(|| self.aliases.get(name).copied())
    }
}

/// Adds the ordering of a unit, with systemd's default dependencies.
fn add(graph: &mut Graph, unit: &Unit, names: &OwnNames<'_>, image: &Ordering) {
    let own = graph.names.id(&unit.name);
    let real = |graph: &mut Graph, other: &str| -> Id {
        match names.find(other) {
            Some(unit) => graph.names.id(unit),
            None => image.name(graph.names.id(other)),
        }
    };
    let defaults = defaults(&unit.name, unit.is_calendar());
    let mounts = unit.all(Key::WaitsForPath).flat_map(mounts);
    let mut first: Vec<Id> = mounts.map(|mount| graph.names.id(&mount)).collect();
    first.extend(defaults.after.iter().map(|name| graph.names.id(name)));
    let after: Vec<Id> = unit.all(Key::After).map(|name| real(graph, name)).collect();
    for first in first.iter().chain(&after) {
        graph.edge(*first, own);
    }
    // systemd orders a timer, path or socket before the unit that it starts.
    let implied = unit.implied();
    let implied = implied.as_deref().and_then(|name| names.find(name));
    let second = unit.all(Key::Before).chain(unit.all(Key::Fires));
    for second in second.chain(implied).chain(defaults.before.iter().copied()) {
        let second = real(graph, second);
        graph.edge(own, second);
    }
    // A target waits for what it wants, unless that waits for the target.
    let wanting = unit.all(Key::WantedBy).chain(unit.all(Key::RequiredBy));
    for name in wanting {
        let target = graph.names.id(name);
        let real = image.name(target);
        let is_target = graph.names.text(real).ends_with(".target");
        if is_target && image.has_defaults(target) && !after.contains(&real) {
            graph.edge(own, real);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unit::parse;

    fn units(list: &[(&str, &str)]) -> Units {
        let unit = |(name, text): &(&str, &str)| {
            let text = format!("[Unit]\n{text}\n");
            ((*name).into(), parse(name, &text))
        };
        list.iter().map(unit).collect()
    }

    /// Returns the names of the members, and the circle of the first.
    fn found(list: &[(&str, &str)]) -> (Vec<String>, Vec<String>) {
        let mut members = members(&units(list), &image().1);
        let circle = members.first_mut().map(|m| std::mem::take(&mut m.circle));
        let names = members.into_iter().map(|m| m.name).collect();
        (names, circle.unwrap_or_default())
    }

    /// Returns an image, whose files last as long as the directory.
    fn image() -> (tempfile::TempDir, Image) {
        let directory = tempfile::tempdir().unwrap();
        let units = directory.path().join("usr/lib/systemd/system");
        std::fs::create_dir_all(&units).unwrap();
        for (name, text) in [
            ("docker.service", "[Unit]\nAfter=network.target\n"),
            ("sysinit.target", "[Unit]\n"),
            (
                "basic.target",
                "[Unit]\nAfter=sysinit.target sockets.target paths.target\n",
            ),
            ("sockets.target", "[Unit]\n"),
            ("paths.target", "[Unit]\n"),
            ("multi-user.target", "[Unit]\nAfter=basic.target\n"),
            ("graphical.target", "[Unit]\nAfter=multi-user.target\n"),
            ("many@.service", "[Unit]\n"),
            ("early.service", "[Unit]\n DefaultDependencies = no\n"),
        ] {
            edge_common::file::write(&units.join(name), text.as_bytes(), 0o644).unwrap();
        }
        let image = Image::read(&edge_common::Root::at(directory.path()));
        (directory, image)
    }

    #[test]
    fn the_shortest_circle_through_units_of_the_image_is_named() {
        for (name, text, circle) in [
            (
                "a.socket",
                "After=docker.service",
                "a.socket sockets.target basic.target docker.service a.socket",
            ),
            (
                "a.service",
                "After=graphical.target\n[Install]\nWantedBy=multi-user.target",
                "a.service multi-user.target graphical.target a.service",
            ),
            (
                "a.service",
                "[Install]\nWantedBy=sockets.target",
                "a.service sockets.target basic.target a.service",
            ),
        ] {
            let (names, found) = found(&[(name, text)]);
            assert_eq!((names, found.join(" ")), (vec![name.into()], circle.into()));
        }
        for (name, text) in [
            ("a.socket", "After=early.service docker.socket"),
            (
                "a.timer",
                "After=docker.service\n[Install]\nWantedBy=timers.target",
            ),
        ] {
            assert_eq!(found(&[(name, text)]).0, [""; 0], "{text}");
        }
    }

    #[test]
    fn thousands_of_instances_hide_no_circle() {
        let instances = (0..2500).map(|n| format!("many@{n}.service"));
        let instances = instances.collect::<Vec<_>>().join(" ");
        let text = format!(
            "After={instances}\nAfter=graphical.target\n[Install]\nWantedBy=multi-user.target"
        );
        assert_eq!(found(&[("a.service", &text)]).0, ["a.service"]);
    }

    #[test]
    fn only_units_of_the_cycle_are_found() {
        let (names, circle) = found(&[
            ("a.service", "After=b.service"),
            ("b.service", "After=c.service"),
            (
                "c.service",
                "Before=x.service\nAfter=a.service docker.service",
            ),
            ("x.service", "After=a.service\nBefore=l.service"),
            ("y.service", "Before=a.service y.service"),
            ("l.service", "After=m.service"),
            ("m.service", "After=l.service"),
        ]);
        assert_eq!(
            names,
            [
                "a.service",
                "b.service",
                "c.service",
                "l.service",
                "m.service"
            ]
        );
        assert_eq!(circle, ["a.service", "c.service", "b.service", "a.service"]);
    }

    #[test]
    fn cycles_through_templates_aliases_and_timers_are_found() {
        let (names, _) = found(&[
            ("t@.service", "After=u.service"),
            ("u.service", "After=t@1.service"),
            ("v.service", "Before=v.timer"),
            ("v.timer", ""),
            ("w.service", "After=w.timer"),
            ("w.timer", ""),
            ("x.service", "After=z.service\n[Install]\nAlias=y.service"),
            ("z.service", "After=y.service"),
        ]);
        let expected = [
            "t@.service",
            "u.service",
            "v.service",
            "v.timer",
            "x.service",
            "z.service",
        ];
        assert_eq!(names, expected);
    }

    #[test]
    fn a_long_chain_is_no_cycle_and_a_long_circle_is_one() {
        let mut list: Vec<_> = (0..3000)
            .map(|n| (format!("u{n}.service"), format!("After=u{}.service", n + 1)))
            .collect();
        let count = |list: &[(String, String)]| {
            let list: Vec<_> = list.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
            found(&list).0.len()
        };
        assert_eq!(count(&list), 0);
        list.push(("u3000.service".into(), "After=u0.service".into()));
        assert_eq!(count(&list), 3001);
    }
}
