//! Detection of ordering cycles between units. systemd breaks a cycle by dropping an
//! arbitrary job, possibly one that the boot needs.

use std::collections::{HashMap, HashSet};

use crate::image::Image;
use crate::unit::{Key, Unit};
use crate::units::{Units, owned};

/// Ordering of targets in systemd's own units: the first is reached before the second.
const TARGETS: [(&str, &str); 4] = [
    ("sockets.target", BASIC),
    ("paths.target", BASIC),
    ("multi-user.target", "graphical.target"),
    ("multi-user.target", "default.target"),
];
/// Target before which no service starts, unless it has no default dependencies.
const BASIC: &str = "basic.target";

/// Returns the names of the units on an ordering cycle of `After=` and `Before=`, or on
/// a path between two cycles, including the units of the device image.
pub(crate) fn members(units: &Units, image: &Image) -> Vec<String> {
    let mut graph = Graph::default();
    for (first, second) in TARGETS {
        graph.edge(first, second);
    }
    for unit in units.values() {
        through_image(&mut graph, unit, units, image);
        let find = |name: &str| Some(&*owned(name, units)?.name);
        for first in unit.all(Key::After).filter_map(find) {
            graph.edge(first, &unit.name);
        }
        // systemd implicitly orders a timer, path or socket before the unit that it
        // starts.
        let implied = unit.implied();
        let after = unit.all(Key::Before).chain(unit.all(Key::Fires));
        for after in after.chain(implied.as_deref()).filter_map(find) {
            graph.edge(&unit.name, after);
        }
    }
    graph.cyclic()
}

/// Adds the ordering between a unit of `/data/services` and units of the device image,
/// with systemd's default dependencies.
fn through_image<'a>(graph: &mut Graph<'a>, unit: &'a Unit, units: &Units, image: &Image) {
    let name: &str = &unit.name;
    match name.rsplit_once('.').map_or("", |(_, kind)| kind) {
        "service" => graph.edge(BASIC, name),
        "socket" => graph.edge(name, "sockets.target"),
        "path" => graph.edge(name, "paths.target"),
        _ => {}
    }
    let foreign = |n: &&str| owned(n, units).is_none();
    for first in unit.all(Key::After).filter(foreign) {
        graph.edge(first, name);
        if first.ends_with(".service") && image.waits_for_basic(first) {
            graph.edge(BASIC, first);
        }
    }
    for second in unit.all(Key::Before).filter(foreign) {
        graph.edge(name, second);
    }
    // A target waits for what it wants, unless that waits for the target.
    let wanting = unit.all(Key::WantedBy).chain(unit.all(Key::RequiredBy));
    for target in wanting.filter(|t| t.ends_with(".target")).filter(foreign) {
        if !unit.all(Key::After).any(|first| first == target) {
            graph.edge(name, target);
        }
    }
}

#[derive(Default)]
struct Graph<'a> {
    /// `[successors, predecessors]` of each unit, by its name.
    sides: [HashMap<&'a str, Vec<&'a str>>; 2],
}

impl<'a> Graph<'a> {
    fn edge(&mut self, from: &'a str, to: &'a str) {
        if from != to {
            self.sides[0].entry(from).or_default().push(to);
            self.sides[1].entry(to).or_default().push(from);
        }
    }

    /// Removes nodes without predecessors and nodes without successors until none is
    /// left, and returns the remaining ones. The algorithm is linear in the number of
    /// edges and not recursive, because a chain of ten thousand units would overflow
    /// the stack.
    fn cyclic(self) -> Vec<String> {
        let mut degrees = self.sides.each_ref().map(|side| {
            let counts = side.iter().map(|(name, others)| (*name, others.len()));
            counts.collect::<HashMap<_, _>>()
        });
        let nodes = || self.sides[0].keys().chain(self.sides[1].keys()).copied();
        let mut removed = HashSet::new();
        let mut free: Vec<_> = nodes()
            .filter(|n| !degrees[0].contains_key(n) || !degrees[1].contains_key(n))
            .collect();
        while let Some(name) = free.pop() {
            if !removed.insert(name) {
                continue;
            }
            for (side, opposite) in [(0, 1), (1, 0)] {
                for other in self.sides[side].get(name).into_iter().flatten() {
                    if let Some(degree) = degrees[opposite].get_mut(other) {
                        *degree -= 1;
                        if *degree == 0 {
                            free.push(other);
                        }
                    }
                }
            }
        }
        let mut members: Vec<_> = nodes().filter(|n| !removed.contains(n)).collect();
        members.sort_unstable();
        members.dedup();
        members.into_iter().map(String::from).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::unit::parse;

    fn units(list: &[(&str, &str)]) -> Units {
        let unit = |(name, text): &(&str, &str)| {
            let text = format!("[Unit]\n{text}\n");
            ((*name).into(), parse(name, &text).unwrap())
        };
        list.iter().map(unit).collect()
    }

    /// Returns an image, whose files last as long as the directory.
    fn image() -> (tempfile::TempDir, Image) {
        let directory = tempfile::tempdir().unwrap();
        let units = directory.path().join("usr/lib/systemd/system");
        std::fs::create_dir_all(&units).unwrap();
        for (name, text) in [
            ("docker.service", "[Unit]\nAfter=network.target\n"),
            ("early.service", "[Unit]\n DefaultDependencies = no\n"),
        ] {
            edge_common::file::write(&units.join(name), text.as_bytes(), 0o644).unwrap();
        }
        let image = Image::read(&edge_common::Root::at(directory.path()));
        (directory, image)
    }

    #[test]
    fn cycles_through_units_of_the_image_are_found() {
        for (name, text, circle) in [
            (
                "a.socket",
                "After=docker.service",
                &[
                    "a.socket",
                    "basic.target",
                    "docker.service",
                    "sockets.target",
                ][..],
            ),
            (
                "a.path",
                "After=docker.service",
                &["a.path", "basic.target", "docker.service", "paths.target"],
            ),
            (
                "a.service",
                "After=multi-user.target\nBefore=multi-user.target",
                &["a.service", "multi-user.target"],
            ),
            (
                "a.service",
                "After=graphical.target\n[Install]\nWantedBy=multi-user.target",
                &["a.service", "graphical.target", "multi-user.target"],
            ),
            (
                "a.service",
                "[Install]\nWantedBy=sockets.target",
                &["a.service", "basic.target", "sockets.target"],
            ),
        ] {
            assert_eq!(
                members(&units(&[(name, text)]), &image().1),
                circle,
                "{text}"
            );
        }
        for (name, text) in [
            ("a.socket", "After=early.service docker.socket"),
            ("a.socket", "After=absent.service"),
            (
                "a.service",
                "After=docker.service\n[Install]\nWantedBy=multi-user.target",
            ),
            (
                "a.service",
                "After=multi-user.target\n[Install]\nWantedBy=multi-user.target",
            ),
            (
                "a.timer",
                "After=docker.service\n[Install]\nWantedBy=timers.target",
            ),
        ] {
            let found = members(&units(&[(name, text)]), &image().1);
            assert!(found.is_empty(), "{text}: {found:?}");
        }
    }

    #[test]
    fn only_units_of_the_cycle_are_found() {
        let units = units(&[
            ("a.service", "After=b.service"),
            ("b.service", "After=c.service"),
            (
                "c.service",
                "Before=x.service\nAfter=a.service docker.service",
            ),
            ("x.service", "After=a.service"),
            ("y.service", "Before=a.service y.service"),
        ]);
        assert_eq!(
            members(&units, &image().1),
            ["a.service", "b.service", "c.service"]
        );
    }

    #[test]
    fn cycles_through_templates_and_timers_are_found() {
        let units = units(&[
            ("t@.service", "After=u.service"),
            ("u.service", "After=t@1.service"),
            ("v.service", "Before=v.timer"),
            ("v.timer", ""),
            ("w.service", "After=w.timer"),
            ("w.timer", ""),
        ]);
        let expected = ["t@.service", "u.service", "v.service", "v.timer"];
        assert_eq!(members(&units, &image().1), expected);
    }

    #[test]
    fn a_long_chain_is_no_cycle() {
        let list: Vec<_> = (0..3000)
            .map(|n| (format!("u{n}.service"), format!("After=u{}.service", n + 1)))
            .collect();
        let list: Vec<_> = list.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        assert!(members(&units(&list), &image().1).is_empty());
    }
}
