//! Permitted values of container options: capabilities, log drivers, resource limits,
//! restart policies and mount options.
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
pub(crate) const LOG_OPTIONS: [&str; 6] = [
    "max-size",
    "max-file",
    "compress",
    "tag",
    "mode",
    "max-buffer-size",
];
/// Permitted sizes of a log file, in bytes.
pub(crate) const LOG_FILE_BYTES: RangeInclusive<i64> = 1024..=4 << 30;
/// Permitted numbers of log files. The engine renames each of them whenever it begins a
/// new one.
pub(crate) const LOG_FILES: RangeInclusive<i64> = 1..=100;
/// Size limit of all log files of a container, in bytes.
pub(crate) const MAX_LOG_BYTES: i64 = 4 << 30;
/// Permitted sizes of the buffer of `mode=non-blocking`, in bytes: memory of the engine,
/// not of the container.
pub(crate) const LOG_BUFFER_BYTES: RangeInclusive<i64> = 1024..=16 << 20;
/// Permitted modes of delivery to the log driver.
pub(crate) const LOG_MODES: [&str; 2] = ["blocking", "non-blocking"];
/// Templates that a log tag may consist of. Others are programs that the engine runs: one
/// that pads a text to 1 TB ends the engine.
pub(crate) const LOG_TAG_TEMPLATES: [&str; 2] = ["{{.Name}}", "{{.ID}}"];

/// Resource limits that `--ulimit` may set for the container's processes. `rtprio` and
/// `nice` are absent: a process of real-time priority stops all others of the device.
pub(crate) const ULIMITS: [&str; 5] = ["nofile", "nproc", "core", "stack", "memlock"];

/// Capabilities of Linux, without `CAP_`.
pub(crate) const CAPABILITIES: [&str; 41] = [
    "AUDIT_CONTROL",
    "AUDIT_READ",
    "AUDIT_WRITE",
    "BLOCK_SUSPEND",
    "BPF",
    "CHECKPOINT_RESTORE",
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "IPC_LOCK",
    "IPC_OWNER",
    "KILL",
    "LEASE",
    "LINUX_IMMUTABLE",
    "MAC_ADMIN",
    "MAC_OVERRIDE",
    "MKNOD",
    "NET_ADMIN",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_RAW",
    "PERFMON",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYSLOG",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_CHROOT",
    "SYS_MODULE",
    "SYS_NICE",
    "SYS_PACCT",
    "SYS_PTRACE",
    "SYS_RAWIO",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "WAKE_ALARM",
];
/// Name that stands for every capability in `--cap-drop` and `--cap-add`.
pub(crate) const ALL_CAPABILITIES: &str = "ALL";
/// Capabilities of every container, without `CAP_`: those of docker less `NET_RAW`,
/// `MKNOD`, `SETFCAP`, `AUDIT_WRITE` and `SYS_CHROOT`. A container with `NET_RAW` can send
/// frames with forged addresses to the device.
pub(crate) const DEFAULT_CAPABILITIES: [&str; 9] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "NET_BIND_SERVICE",
    "SETGID",
    "SETPCAP",
    "SETUID",
];
/// Capabilities of docker's default that `--cap-add` adds without a grant. `NET_RAW` and
/// `MKNOD`, which complete docker's default, need one.
pub(crate) const ADDABLE_CAPABILITIES: [&str; 3] = ["AUDIT_WRITE", "SETFCAP", "SYS_CHROOT"];

/// Returns whether `--cap-add` adds a capability without a grant.
pub(crate) fn needs_no_grant(capability: &str) -> bool {
    DEFAULT_CAPABILITIES.contains(&capability) || ADDABLE_CAPABILITIES.contains(&capability)
}

/// Size limit of a file system in memory (`--tmpfs`, `--shm-size`), in bytes.
pub(crate) const MAX_MEMORY_FS_BYTES: i64 = 64 << 30;
/// Highest number of a processor in `--cpuset-cpus`. The engine keeps an entry in memory
/// for each number of a range.
pub(crate) const MAX_PROCESSOR: u32 = 1023;
/// Maximum number of ports that a container publishes or exposes. The engine changes the
/// packet filter once or more for each.
pub(crate) const MAX_PORTS: usize = 512;
/// Maximum number of mounts of a container, in memory or not. The kernel copies them for
/// each process that enters the container.
pub(crate) const MAX_MOUNTS: usize = 32;
/// Maximum number of mounts of a stored container: earlier versions had no other limit than
/// the engine's, and an update of the device must not end what runs.
pub(crate) const MAX_STORED_MOUNTS: usize = 256;
/// Maximum number of labels that a request sets.
pub(crate) const MAX_LABELS: usize = 64;
/// Size limit of these labels, names and values together, in bytes. The engine returns
/// them with every list of containers.
pub(crate) const MAX_LABEL_BYTES: usize = 4096;
/// Maximum number of values of `--add-host`, `--group-add`, `--dns` and
/// `--network-alias`, each.
pub(crate) const MAX_LIST: usize = 64;
/// Largest ID of a user or group that the runtime accepts.
pub(crate) const MAX_ID: i64 = i32::MAX as i64;
/// Least interval and timeout of a health check, in nanoseconds: the engine starts each
/// check as root, outside of the container's limits.
pub(crate) const MIN_HEALTH_NANOSECONDS: i64 = 100_000_000;
/// Size limit of a host name, in bytes, by the kernel.
pub(crate) const MAX_HOSTNAME_BYTES: usize = 64;
/// Size limit of a path in the container, in bytes, by the kernel.
pub(crate) const MAX_PATH_BYTES: usize = 4095;
/// Permitted times until the engine kills a container that does not stop, in seconds.
/// Without a limit, the engine itself would not stop.
pub(crate) const STOP_SECONDS: RangeInclusive<i64> = 0..=3600;

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
