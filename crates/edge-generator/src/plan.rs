//! From units to links: a pure function.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::SERVICES;
use crate::unit::{Unit, valid_name, valid_target};

/// A link to make: `name` is relative to the folder for normal priority.
#[derive(Debug, PartialEq, Eq)]
pub struct Link {
    /// Where.
    pub name: PathBuf,
    /// To what.
    pub target: PathBuf,
}

/// All links, and a message for each thing asked that is not done.
pub fn links(units: &[Unit]) -> (Vec<Link>, Vec<String>) {
    let names: BTreeSet<_> = units.iter().map(|u| u.name.as_str()).collect();
    let mut links = Vec::new();
    let mut messages = Vec::new();
    for unit in units {
        match foreign_start(unit, &names) {
            Some(other) => messages.push(format!(
                "{}: may not start {other}: not a unit of {SERVICES}",
                unit.name
            )),
            None => of_unit(unit, &names, &mut links, &mut messages),
        }
    }
    (links, messages)
}

/// Targets that a boot reaches anyway: starting them again starts what they
/// newly want. Any other (`poweroff.target`, say) is never started from here.
const BOOT_TARGETS: [&str; 4] = [
    "multi-user.target",
    "timers.target",
    "sockets.target",
    "paths.target",
];

/// Boot targets that want or require one of `units`.
pub fn targets(units: &[Unit]) -> BTreeSet<&str> {
    let asked = units
        .iter()
        .flat_map(|u| u.wanted_by.iter().chain(&u.required_by));
    let asked = asked.filter(|t| BOOT_TARGETS.contains(&t.as_str()));
    asked.map(String::as_str).collect()
}

fn foreign_start<'a>(unit: &'a Unit, names: &BTreeSet<&str>) -> Option<&'a str> {
    unit.starts
        .iter()
        .map(String::as_str)
        .find(|s| !names.contains(s))
}

fn of_unit(unit: &Unit, names: &BTreeSet<&str>, links: &mut Vec<Link>, messages: &mut Vec<String>) {
    let target = Path::new(SERVICES).join(&unit.name);
    let mut link = |name: PathBuf| {
        links.push(Link {
            name,
            target: target.clone(),
        })
    };
    link(PathBuf::from(&unit.name));
    for alias in &unit.aliases {
        let same_kind = Path::new(alias).extension() == Path::new(&unit.name).extension();
        if same_kind && valid_name(alias) && !names.contains(alias.as_str()) {
            link(PathBuf::from(alias));
        } else {
            messages.push(format!("{}: ignoring Alias={alias}", unit.name));
        }
    }
    let Some(started) = started_name(unit) else {
        return;
    };
    for (wishes, kind) in [(&unit.wanted_by, "wants"), (&unit.required_by, "requires")] {
        for wish in wishes {
            if valid_target(wish) {
                link(Path::new(&format!("{wish}.{kind}")).join(&started));
            } else {
                messages.push(format!("{}: ignoring {wish} in [Install]", unit.name));
            }
        }
    }
}

/// The name under which it is started; a template needs an instance.
fn started_name(unit: &Unit) -> Option<String> {
    if !unit.is_template() {
        return Some(unit.name.clone());
    }
    let instance = unit.instance.as_deref()?;
    let name = unit.name.replacen("@.", &format!("@{instance}."), 1);
    valid_name(&name).then_some(name)
}
