//! Accepted units of `/data/services`, and their names.

use std::collections::BTreeMap;

use crate::rules;
use crate::unit::Unit;

/// Units by name.
pub(crate) type Units = BTreeMap<Box<str>, Unit>;

/// Returns `a@.service` for `a@b.service`.
pub(crate) fn template(name: &str) -> Option<String> {
    let (stem, rest) = name.split_once('@')?;
    let (instance, kind) = rest.rsplit_once('.')?;
    (!instance.is_empty()).then(|| format!("{stem}@.{kind}"))
}

/// Returns the unit that `name` stands for, or whose template it is an instance of.
pub(crate) fn owned<'a>(name: &str, units: &'a Units) -> Option<&'a Unit> {
    if let Some(unit) = units.get(name) {
        return Some(unit);
    }
    // Inside a template the instance may be that of the unit itself.
    let plain = name.replace("@%i.", "@x.");
    units
        .get(template(&plain)?.as_str())
        .filter(|_| rules::valid_name(&plain))
}
