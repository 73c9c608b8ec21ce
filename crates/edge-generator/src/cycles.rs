//! Detection of ordering cycles between units. systemd breaks a cycle by dropping an
//! arbitrary job, possibly one that the boot needs.

use std::collections::{HashMap, HashSet};

use crate::unit::Key;
use crate::units::{Units, owned};

/// Returns the names of the units on an ordering cycle of `After=` and `Before=`, or on
/// a path between two cycles.
pub(crate) fn members(units: &Units) -> Vec<String> {
    let mut graph = Graph::default();
    for unit in units.values() {
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
        assert_eq!(members(&units), ["a.service", "b.service", "c.service"]);
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
        assert_eq!(members(&units), expected);
    }

    #[test]
    fn a_long_chain_is_no_cycle() {
        let list: Vec<_> = (0..3000)
            .map(|n| (format!("u{n}.service"), format!("After=u{}.service", n + 1)))
            .collect();
        let list: Vec<_> = list.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        assert!(members(&units(&list)).is_empty());
    }
}
