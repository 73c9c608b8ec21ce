//! Set of the accepted units of `/data/services`, and look-up by name.

use std::collections::BTreeMap;

use crate::rules;
use crate::unit::Unit;

/// Accepted units, with their file names as keys.
pub(crate) type Units = BTreeMap<Box<str>, Unit>;

/// Returns the template of an instance: `a@.service` for `a@b.service`.
pub(crate) fn template(name: &str) -> Option<String> {
    let (stem, rest) = name.split_once('@')?;
    let (instance, kind) = rest.rsplit_once('.')?;
    (!instance.is_empty()).then(|| format!("{stem}@.{kind}"))
}

/// Returns the unit of `/data/services` with this name, or the template of which `name`
/// is an instance.
pub(crate) fn owned<'a>(name: &str, units: &'a Units) -> Option<&'a Unit> {
    if let Some(unit) = units.get(name) {
        return Some(unit);
    }
    if !name.contains('@') {
        return None;
    }
    // In a template, `@%i` stands for its own instance; any instance name is sufficient
    // for the look-up.
    let plain = name.replace("@%i.", "@x.");
    units
        .get(template(&plain)?.as_str())
        .filter(|_| rules::valid_name(&plain))
}
