//! Values that a container may have, each list once.
//!
//! The option parser reads these lists to decide what may be requested, the check of
//! stored containers to decide what may be stored. A value that stood in one of two
//! lists alone would be a container that runs until the next boot, or one that only
//! an edited file can be.

use std::ops::RangeInclusive;

/// Log drivers. All keep the log on the device: a driver that sends it away would
/// give an app a network of the host, past the container's own.
pub(crate) const LOG_DRIVERS: [&str; 4] = ["json-file", "local", "journald", "none"];
/// Log driver of a container that names none.
pub(crate) const DEFAULT_LOG_DRIVER: &str = "json-file";
/// Options of log drivers: size and form of the log, never its destination.
pub(crate) const LOG_OPTIONS: [&str; 4] = ["max-size", "max-file", "compress", "tag"];

/// Resource limits that a container may set for its own processes.
pub(crate) const ULIMITS: [&str; 4] = ["nofile", "nproc", "core", "stack"];

/// Processes of a container. There is always a limit, so that a fork bomb ends in its
/// own cgroup.
pub(crate) const PIDS: RangeInclusive<i64> = 1..=32_768;
/// Limit of processes for a container that names none.
pub(crate) const DEFAULT_PIDS: i64 = 1024;

/// Security option of every container, requested or not: a setuid program in the
/// image gains nothing.
pub(crate) const SECURITY_OPTION: &str = "no-new-privileges";

/// Restart policies of the engine.
pub(crate) const RESTART_POLICIES: [&str; 4] = ["no", "always", "unless-stopped", "on-failure"];

/// Runtime that adds GPUs.
pub(crate) const GPU_RUNTIME: &str = "nvidia";

/// Propagation of a mount's changes: none in either direction.
pub(crate) const MOUNT_PROPAGATION: &str = "rprivate";
/// Mounts below the source stay out of the container: another app's or the host's
/// could be there.
pub(crate) const MOUNT_NON_RECURSIVE: bool = true;

/// Rights to a device: read, write, create its node.
pub(crate) const DEVICE_RIGHTS: &str = "rwm";

/// Tells whether `text` is some of the rights to a device, at least one.
pub(crate) fn is_device_rights(text: &str) -> bool {
    let known = text.chars().all(|right| DEVICE_RIGHTS.contains(right));
    known && (1..=DEVICE_RIGHTS.len()).contains(&text.len())
}
