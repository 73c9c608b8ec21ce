//! From units to links: pure functions.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::load::{Image, template};
use crate::rules::{self, MAY_NEED, MAY_REQUIRE, MAY_WAIT, MAY_WANT};
use crate::unit::{Key, Unit};
use crate::{Refusals, SERVICES, cycles};

/// Units by name.
pub type Units = BTreeMap<Box<str>, Unit>;

/// Links to make: places relative to the directory for normal priority, and the
/// file below [`SERVICES`] that each leads to.
pub type Links<'a> = BTreeMap<String, &'a str>;

/// Takes away the units that are refused for what they say of others.
pub fn judge(units: &mut Units, image: &Image, refused: &mut Refusals) {
    let bad: Vec<(Box<str>, String)> = units
        .values()
        .filter_map(|unit| Some((unit.name.clone(), foreign(unit, units, image)?)))
        .collect();
    for (name, why) in bad {
        refused.tell(format!("{name}: {why}"));
        units.remove(&name);
    }
    for name in cycles::members(units) {
        refused.tell(format!(
            "{name}: waits for itself through After= and Before="
        ));
        units.remove(name.as_str());
    }
}

/// All links; what was asked and is not done is told.
pub fn links<'a>(units: &'a Units, image: &'a Image, refused: &'a mut Refusals) -> Links<'a> {
    let mut plan = Plan {
        units,
        image,
        links: Links::new(),
        refused,
    };
    for unit in units.values() {
        plan.unit(unit);
    }
    plan.links
}

/// Targets that a boot reaches anyway: starting them again starts what they
/// newly want. Any other (`poweroff.target`, say) is never started from here.
const BOOT_TARGETS: [&str; 4] = [
    "multi-user.target",
    "timers.target",
    "sockets.target",
    "paths.target",
];

/// Boot targets that are asked for by a link.
pub fn targets(links: &Links<'_>) -> BTreeSet<&'static str> {
    let wanted = |target: &&&str| {
        let of = |kind: &str| format!("{target}.{kind}/");
        let (wants, requires) = (of("wants"), of("requires"));
        links
            .keys()
            .any(|l| l.starts_with(&wants) || l.starts_with(&requires))
    };
    BOOT_TARGETS.iter().filter(wanted).copied().collect()
}

/// Is `name` one of ours, or an instance of a template of ours? Inside a
/// template the instance may be its own (`%i`).
pub fn owned<'a>(name: &str, units: &'a Units) -> Option<&'a Unit> {
    if let Some(unit) = units.get(name) {
        return Some(unit);
    }
    let plain = name.replace("@%i.", "@x.");
    units
        .get(template(&plain)?.as_str())
        .filter(|_| rules::valid_name(&plain))
}

/// Why a unit would start, or hold up, what is not of `/data/services`.
fn foreign(unit: &Unit, units: &Units, image: &Image) -> Option<String> {
    let not_ours = |name: &&str| owned(name, units).is_none();
    let implied = unit.implied();
    let mut fires = unit.all(Key::Fires).chain(implied.as_deref());
    if let Some(other) = fires.find(not_ours) {
        return Some(format!("may not start {other}: not a unit of {SERVICES}"));
    }
    let mut needs = unit.all(Key::Needs).filter(|n| !MAY_NEED.contains(n));
    if let Some(other) = needs.find(not_ours) {
        return Some(format!(
            "may not pull in {other}: neither a unit of {SERVICES} nor of the boot"
        ));
    }
    let mut before = unit.all(Key::Before).filter(|n| !MAY_WAIT.contains(n));
    before
        .find(|n| not_ours(n) && !harmless(n, image))
        .map(|other| format!("may not hold up {other} (Before=)"))
}

/// A unit that the image does not have, and that nothing else makes.
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
    refused: &'a mut Refusals,
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
            self.wishes(unit, name);
        }
        if let Some(name) = self.started(unit) {
            self.wishes(unit, &name);
        }
        for other in unit.all(Key::Also) {
            match owned(other, self.units) {
                Some(also) if also.is_template() && *other != *also.name => {
                    self.wishes(also, other);
                }
                Some(_) => {}
                None => self.ignore(unit, "Also", other),
            }
        }
    }

    fn alias(&mut self, unit: &'a Unit, alias: &str) {
        let same_kind = Path::new(alias).extension() == Path::new(&*unit.name).extension();
        let same_form = alias.contains("@.") == unit.is_template();
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

    /// The name under which it is started by itself; a template needs an instance.
    fn started(&mut self, unit: &Unit) -> Option<String> {
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

    /// Links below the targets that want or require it.
    fn wishes(&mut self, unit: &'a Unit, started: &str) {
        for (wishes, kind, key, may) in [
            (Key::WantedBy, "wants", "WantedBy", &MAY_WANT[..]),
            (Key::RequiredBy, "requires", "RequiredBy", &MAY_REQUIRE),
        ] {
            for wish in unit.all(wishes) {
                let ours = || owned(wish, self.units).is_some() && !wish.contains('%');
                if may.contains(&wish) || ours() || harmless(wish, self.image) {
                    self.link(format!("{wish}.{kind}/{started}"), &unit.name);
                } else {
                    self.ignore(unit, key, wish);
                }
            }
        }
    }

    fn ignore(&mut self, unit: &Unit, key: &str, value: &str) {
        self.refused
            .tell(format!("{}: ignoring {key}={value}", unit.name));
    }

    fn link(&mut self, place: String, file: &'a str) {
        self.links.entry(place).or_insert(file);
    }
}
