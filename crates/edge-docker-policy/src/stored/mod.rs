//! Stored containers: the files that the engine keeps of a container and trusts.

pub(crate) mod compare;
mod config;
pub mod container;
mod host_config;
mod policy;

use std::path::Path;

use serde_json::Value;

use crate::grants::Granted;
use crate::identity::Identity;
use crate::mounts::CloneRecord;
use container::Stored;

pub use compare::zero;

/// Facts about a stored container that a decision needs.
pub struct Facts<'a> {
    /// Container as the engine stores it.
    pub stored: &'a Stored,
    /// Create request of edge-docker, which has been on `/data` and proves nothing.
    pub requested: &'a Value,
    /// Configuration of the image, which its ID proves.
    pub image: &'a Value,
    /// Identity of the image.
    pub identity: &'a Identity,
    /// Permissions of the identity.
    pub granted: &'a Granted,
    /// Record of the mount clones, if the request names any.
    pub clones: Option<&'a CloneRecord>,
    /// Directory of the engine's volumes.
    pub volumes: &'a Path,
    /// Cgroups are those of version 2, where a container has a view of its own.
    pub cgroups_v2: bool,
}

/// Decides whether the engine may start a stored container: its files must hold what was
/// requested, and the request what the policy permits.
///
/// # Errors
/// The rule that the container breaks.
pub fn check(facts: &Facts) -> Result<(), String> {
    let (stored, requested) = (facts.stored, facts.requested);
    host_config::check(&stored.host, &requested["HostConfig"])?;
    if facts.cgroups_v2 && stored.host["CgroupnsMode"] == "host" {
        return Err("HostConfig.CgroupnsMode is \"host\"".into());
    }
    config::check(stored, requested, facts.image, facts.volumes)?;
    policy::check(requested, facts.identity, facts.granted, facts.clones)
}
