//! Decision on stored containers: the files in which the engine keeps its containers and
//! which it trusts when it starts.

pub(crate) mod compare;
mod config;
pub mod container;
mod host_config;
mod policy;
pub mod signed;

use std::path::Path;

use serde_json::Value;

use crate::grants::Granted;
use crate::identity::Identity;
use crate::mounts::CloneRecord;
use container::Stored;

pub use compare::zero;

/// Input of the decision on a stored container.
pub struct Facts<'a> {
    /// Files of the container as the engine stored them.
    pub stored: &'a Stored,
    /// Create request that edge-docker recorded. It is judged like a new one, because a
    /// file on `/data` could have been edited.
    pub requested: &'a Value,
    /// Member `config` of the image configuration, whose digest is the image ID.
    pub image: &'a Value,
    /// Identity of the image: the app of the verified signature, or a sandbox.
    pub identity: &'a Identity,
    /// Permissions that the identity has on this board.
    pub granted: &'a Granted,
    /// Record of the mount clones; `None` if the create request has no label for them.
    pub clones: Option<&'a CloneRecord>,
    /// Directory in which the engine stores volumes.
    pub volumes: &'a Path,
    /// Log options that the engine adds to those of a create request: `log-opts` of its
    /// configuration.
    pub log_options: &'a Value,
    /// Set on a device with cgroups of version 2, where each container must have a cgroup
    /// namespace of its own.
    pub cgroups_v2: bool,
}

/// Decides whether the engine may start a stored container: its files must match the
/// create request, and the create request must comply with the policy.
///
/// # Errors
/// Text that names the rule that the container breaks.
pub fn check(facts: &Facts) -> Result<(), String> {
    let (stored, requested) = (facts.stored, facts.requested);
    host_config::check(&stored.host, &requested["HostConfig"], facts.log_options)?;
    if facts.cgroups_v2 && stored.host["CgroupnsMode"] == "host" {
        return Err("HostConfig.CgroupnsMode is \"host\"".into());
    }
    config::check(stored, requested, facts.image, facts.volumes)?;
    policy::check(requested, facts.identity, facts.granted, facts.clones)
}
