//! Plan of the links that the generator creates: pure functions from the accepted units
//! to their links.

use std::collections::BTreeSet;
use std::path::Path;

use edge_common::contract::MAY_NEED;
use edge_common::contract::path::SERVICES;

use crate::cycles::{self, Member};
use crate::image::Image;
use crate::links::Links;
use crate::refusals::Refusals;
use crate::rules::{self, MAY_REQUIRE, MAY_WAIT, MAY_WANT};
use crate::unit::{Key, Unit};
use crate::units::{Units, owned};

/// Removes the units whose dependencies or ordering are not allowed, with a message for
/// each.
pub(crate) fn remove_refused(units: &mut Units, image: &Image, refusals: &mut Refusals) {
    let refused: Vec<(Box<str>, Vec<String>)> = units
        .values()
        .map(|unit| {
            let faults = unit.faults(dependency_faults(unit, units, image));
            (unit.name.clone(), faults)
        })
        .filter(|(_, faults)| !faults.is_empty())
        .collect();
    for (name, faults) in refused {
        for fault in faults {
            refusals.push(fault);
        }
        units.remove(&name);
    }
    for note in units.values().flat_map(|unit| &unit.notes) {
        refusals.note(note);
    }
    for Member { name, circle } in cycles::members(units, image) {
        refusals.push(match circle.len() {
            0 => format!("{name}: waits for itself through After= and Before="),
            length => format!(
                "{name}: waits for itself through After= and Before=, in a circle: {}{}",
                circle[..length.min(MAX_SHOWN)].join(" before "),
                if length > MAX_SHOWN { " …" } else { "" }
            ),
        });
        units.remove(name.as_str());
    }
}

/// Number of units of a circle that a message names.
const MAX_SHOWN: usize = 9;

/// Returns the links of all units, including drop-ins, aliases and `WantedBy=`. A link
/// that is not allowed is omitted with a message.
pub(crate) fn links<'a>(
    units: &'a Units,
    image: &'a Image,
    refusals: &'a mut Refusals,
) -> Links<'a> {
    let mut plan = Plan {
        units,
        image,
        links: Links::new(),
        refusals,
    };
    for unit in units.values() {
        plan.unit(unit);
    }
    plan.links
}

/// Targets that every boot reaches. Starting such a target again also starts the units
/// that it wants since the reload. The generator starts no other target, for example
/// never `poweroff.target`.
const BOOT_TARGETS: [&str; 4] = [
    "multi-user.target",
    "timers.target",
    "sockets.target",
    "paths.target",
];

/// Returns the targets of [`BOOT_TARGETS`] that want or require a linked unit.
pub(crate) fn targets(links: &Links<'_>) -> BTreeSet<&'static str> {
    let requested = |target: &&&str| {
        let of = |kind: &str| format!("{target}.{kind}/");
        let (wants, requires) = (of("wants"), of("requires"));
        links
            .keys()
            .any(|l| l.starts_with(&wants) || l.starts_with(&requires))
    };
    BOOT_TARGETS.iter().filter(requested).copied().collect()
}

/// Returns the faults of a unit that would start or delay a unit outside of
/// `/data/services`.
fn dependency_faults(unit: &Unit, units: &Units, image: &Image) -> Vec<String> {
    let not_ours = |name: &str| owned(name, units).is_none();
    let mut faults = Vec::new();
    let mut fault = |place, reason: String| faults.push(unit.fault(place, &reason));
    for (place, other) in unit.placed(Key::Fires).filter(|(_, n)| not_ours(n)) {
        fault(place, may_not_start(other));
    }
    for (place, other) in unit.placed(Key::OnFailure).filter(|(_, n)| not_ours(n)) {
        // An absent unit starts nothing; a target could be one of systemd's own.
        if !rules::valid_name(other) || image.has(other) {
            fault(place, may_not_start(other));
        }
    }
    let pulled_in = |name: &str| !MAY_NEED.contains(&name) && !is_device(name) && not_ours(name);
    for (place, other) in unit.placed(Key::Needs).filter(|(_, n)| pulled_in(n)) {
        fault(
            place,
            format!(
                "may not pull in {other}: neither a unit of {SERVICES} nor of the boot; remove it, or \
                 write After= to start later"
            ),
        );
    }
    let delayed =
        |name: &str| !MAY_WAIT.contains(&name) && not_ours(name) && !harmless(name, image);
    for (place, other) in unit.placed(Key::Before).filter(|(_, n)| delayed(n)) {
        fault(
            place,
            format!("may not hold up {other} (Before=): remove it"),
        );
    }
    // A timer without `Unit=` starts the service of the same name, which could be a
    // unit of the device image.
    if let Some(other) = unit.implied().filter(|n| not_ours(n)) {
        faults.push(format!("{}: {}", unit.name, may_not_start(&other)));
    }
    faults
}

fn may_not_start(other: &str) -> String {
    format!("may not start {other}: not a unit of {SERVICES}")
}

/// Returns whether `name` is a device. systemd makes such a unit for a device node and
/// starts nothing with it.
fn is_device(name: &str) -> bool {
    name.ends_with(".device") && !name.contains('/')
}

/// Returns whether a relation to `name` has no effect: the device image has no such
/// unit, and systemd does not create units of this type itself, as it does for mounts
/// and devices.
fn harmless(name: &str, image: &Image) -> bool {
    let kind = name.rsplit_once('.').map_or("", |(_, kind)| kind);
    rules::valid_target(name)
        && matches!(kind, "service" | "target" | "timer" | "socket" | "path")
        && !image.has(name)
}

struct Plan<'a> {
    units: &'a Units,
    image: &'a Image,
    links: Links<'a>,
    refusals: &'a mut Refusals,
}

impl<'a> Plan<'a> {
    fn unit(&mut self, unit: &'a Unit) {
        self.link(unit.name.to_string(), &unit.name);
        for file in unit.all(Key::DropIn) {
            self.link(file.into(), file);
        }
        for alias in unit.all(Key::Alias) {
            self.alias(unit, alias);
        }
        for name in unit.all(Key::Instance) {
            self.install(unit, name);
        }
        if let Some(name) = self.started_name(unit) {
            self.install(unit, &name);
        }
        // `Also=` installs a second unit together with the first, as `systemctl enable`
        // does.
        for other in unit.all(Key::Also) {
            match owned(other, self.units) {
                Some(also) if also.is_template() && *other != *also.name => {
                    self.install(also, other);
                }
                Some(_) => {}
                None => self.ignore(unit, "Also", other),
            }
        }
    }

    fn alias(&mut self, unit: &'a Unit, alias: &str) {
        let same_kind = Path::new(alias).extension() == Path::new(&*unit.name).extension();
        let same_form = alias.contains("@.") == unit.is_template();
        // The alias must not hide a unit of the device image: generated links take
        // precedence over /usr/lib.
        let free = rules::valid_name(alias)
            && !self.image.has(alias)
            && !self.units.contains_key(alias)
            && !self.links.contains_key(alias);
        if same_kind && same_form && free {
            self.link(alias.into(), &unit.name);
        } else {
            self.ignore(unit, "Alias", alias);
        }
    }

    /// Returns the name under which `WantedBy=` starts a unit: its own name, or for a
    /// template the instance that `DefaultInstance=` names. Returns `None` for a
    /// template without a valid `DefaultInstance=`.
    fn started_name(&mut self, unit: &Unit) -> Option<String> {
        if !unit.is_template() {
            return Some(unit.name.to_string());
        }
        let instance = unit.all(Key::DefaultInstance).next()?;
        let name = unit.name.replacen("@.", &format!("@{instance}."), 1);
        if rules::valid_name(&name) && !instance.is_empty() {
            return Some(name);
        }
        self.ignore(unit, "DefaultInstance", instance);
        None
    }

    /// Adds the links for `WantedBy=` and `RequiredBy=` of a unit, for example
    /// `multi-user.target.wants/a.service`; `started` is the file name of the link.
    fn install(&mut self, unit: &'a Unit, started: &str) {
        for (list, kind, key, allowed) in [
            (Key::WantedBy, "wants", "WantedBy", &MAY_WANT[..]),
            (Key::RequiredBy, "requires", "RequiredBy", &MAY_REQUIRE),
        ] {
            for target in unit.all(list) {
                let ours = || owned(target, self.units).is_some() && !target.contains('%');
                if allowed.contains(&target) || ours() || harmless(target, self.image) {
                    self.link(format!("{target}.{kind}/{started}"), &unit.name);
                } else {
                    self.ignore(unit, key, target);
                }
            }
        }
    }

    fn ignore(&mut self, unit: &Unit, key: &str, value: &str) {
        self.refusals
            .push(format!("{}: ignoring {key}={value}", unit.name));
    }

    fn link(&mut self, link: String, file: &'a str) {
        self.links.entry(link).or_insert(file);
    }
}
