//! Units that wait for each other in a circle. systemd breaks a circle by
//! leaving out one of its jobs, and nobody knows which.

use std::collections::HashMap;

use crate::plan::{Units, owned};
use crate::unit::Key;

/// Names of the units on circles of `After=` and `Before=` (or between two).
pub fn members(units: &Units) -> Vec<String> {
    let mut graph = Graph::default();
    for unit in units.values() {
        let find = |name: &str| Some(&*owned(name, units)?.name);
        for first in unit.all(Key::After).filter_map(find) {
            graph.edge(first, &unit.name);
        }
        // What fires a unit is started before it.
        let implied = unit.implied();
        let later = unit.all(Key::Before).chain(unit.all(Key::Fires));
        for later in later.chain(implied.as_deref()).filter_map(find) {
            graph.edge(&unit.name, later);
        }
    }
    graph.trim()
}

#[derive(Default)]
struct Graph<'a> {
    /// To whom from whom, and back.
    sides: [HashMap<&'a str, Vec<&'a str>>; 2],
}

impl<'a> Graph<'a> {
    fn edge(&mut self, from: &'a str, to: &'a str) {
        if from != to {
            self.sides[0].entry(from).or_default().push(to);
            self.sides[1].entry(to).or_default().push(from);
        }
    }

    /// Takes away whom nobody waits for and who waits for nobody until none is
    /// left of these. Each edge is looked at once on each side.
    fn trim(self) -> Vec<String> {
        let mut left = self.sides.each_ref().map(|side| {
            let counts = side.iter().map(|(name, others)| (*name, others.len()));
            counts.collect::<HashMap<_, _>>()
        });
        let everybody = || self.sides[0].keys().chain(self.sides[1].keys()).copied();
        let mut gone = std::collections::HashSet::new();
        let mut free: Vec<_> = everybody()
            .filter(|n| !left[0].contains_key(n) || !left[1].contains_key(n))
            .collect();
        while let Some(name) = free.pop() {
            if !gone.insert(name) {
                continue;
            }
            for (side, back) in [(0, 1), (1, 0)] {
                for other in self.sides[side].get(name).into_iter().flatten() {
                    if let Some(count) = left[back].get_mut(other) {
                        *count -= 1;
                        if *count == 0 {
                            free.push(other);
                        }
                    }
                }
            }
        }
        let mut members: Vec<_> = everybody().filter(|n| !gone.contains(n)).collect();
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
    fn only_the_circle_is_found() {
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
    fn through_templates_and_timers() {
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
    fn a_long_chain_is_none() {
        let list: Vec<_> = (0..3000)
            .map(|n| (format!("u{n}.service"), format!("After=u{}.service", n + 1)))
            .collect();
        let list: Vec<_> = list.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
        assert!(members(&units(&list)).is_empty());
    }
}
