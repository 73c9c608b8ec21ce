//! ARNs of things, thing groups and jobs.

use super::fields::thing_name;
use super::state::Target;
use crate::cloud::policy::ARN;

/// Returns the ARN of a resource, for example of the thing `edge-ai-1`.
pub(super) fn of(kind: &str, name: &str) -> String {
    format!("{ARN}:{kind}/{name}")
}

/// Returns the thing or thing group that an ARN of this account names.
pub(super) fn target(text: &str) -> Option<Target> {
    let (kind, name) = text.strip_prefix(ARN)?.strip_prefix(':')?.split_once('/')?;
    match kind {
        _ if !thing_name(name) => None,
        "thing" => Some(Target::Thing(name.into())),
        "thinggroup" => Some(Target::Group(name.into())),
        _ => None,
    }
}

/// Returns the ARN of a target.
pub(super) fn of_target(target: &Target) -> String {
    match target {
        Target::Thing(name) => of("thing", name),
        Target::Group(name) => of("thinggroup", name),
    }
}
