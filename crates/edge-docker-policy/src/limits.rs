//! Permitted values of container options: log drivers, resource limits, restart policies
//! and mount options.
//!
//! The option parser of `run` and the check of stored containers use the same lists. If
//! only the parser permitted a value, the container would run until the next boot audit;
//! if only the audit permitted it, only an edited file could contain it.

use std::ops::RangeInclusive;

/// Permitted log drivers. All of them keep the log on the device: a driver such as
/// `syslog` would send it over the host's network, which the container itself may not be
/// allowed to use.
pub(crate) const LOG_DRIVERS: [&str; 4] = ["json-file", "local", "journald", "none"];
/// Log driver of a container without `--log-driver`.
pub(crate) const DEFAULT_LOG_DRIVER: &str = "json-file";
/// Permitted options of log drivers, which set the size and format of a log but not its
/// destination.
pub(crate) const LOG_OPTIONS: [&str; 4] = ["max-size", "max-file", "compress", "tag"];

/// Resource limits that `--ulimit` may set for the container's processes.
pub(crate) const ULIMITS: [&str; 4] = ["nofile", "nproc", "core", "stack"];

/// Permitted process limits (`--pids-limit`). A container is never unlimited, so that a
/// fork bomb ends in its own cgroup.
pub(crate) const PIDS: RangeInclusive<i64> = 1..=32_768;
/// Process limit of a container without `--pids-limit`.
pub(crate) const DEFAULT_PIDS: i64 = 1024;

/// Security option of every container, requested or not: a setuid program in the
/// container image gains no privileges.
pub(crate) const SECURITY_OPTION: &str = "no-new-privileges";

/// Restart policies that `--restart` accepts, by their names in the API of the engine.
pub(crate) const RESTART_POLICIES: [&str; 4] = ["no", "always", "unless-stopped", "on-failure"];

/// Name of the OCI runtime for NVIDIA GPUs; `--gpus` needs a grant of this runtime.
pub(crate) const GPU_RUNTIME: &str = "nvidia";

/// Propagation mode of bind mounts: later mounts on the host do not appear in the
/// container, nor those of the container on the host.
pub(crate) const MOUNT_PROPAGATION: &str = "rprivate";
/// Bind mounts are not recursive: a mount below the source could belong to another app or
/// to the host.
pub(crate) const MOUNT_NON_RECURSIVE: bool = true;

/// Full cgroup permissions for a device: read, write and `mknod`.
pub(crate) const DEVICE_RIGHTS: &str = "rwm";

/// Returns whether `text` consists of one to three of the letters `r`, `w` and `m`.
pub(crate) fn is_device_rights(text: &str) -> bool {
    let known = text.chars().all(|right| DEVICE_RIGHTS.contains(right));
    known && (1..=DEVICE_RIGHTS.len()).contains(&text.len())
}
