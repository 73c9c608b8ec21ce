//! Recognition of grants that amount to root on the device.
//!
//! A container that reaches the system bus, a disk or every file of the host needs no
//! flaw to become root: it asks systemd for a program, or writes one. Host paths are
//! compared with a list of harmless ones, because the services of a device have no end.
//! Device nodes are compared with the families of the kernel that give root, because
//! every vendor adds ordinary ones. See `docs/decisions/0031-grants-that-are-root.md`.

mod devices;
mod paths;

use super::granted::Part;
use crate::limits::ALL_CAPABILITIES;

/// Capabilities that amount to root, without `CAP_`, each with what it does. The others
/// act within the container, or on the network and the clock alone.
const CAPABILITIES: [(&str, &str); 13] = [
    (ALL_CAPABILITIES, "includes every one of these"),
    ("SYS_ADMIN", "mounts file systems and enters namespaces"),
    (
        "SYS_PTRACE",
        "reads and writes the memory of other processes",
    ),
    ("SYS_MODULE", "loads kernel modules"),
    ("SYS_RAWIO", "sends commands to disks and writes to ports"),
    (
        "DAC_READ_SEARCH",
        "opens every file of the device by its handle",
    ),
    ("SYS_BOOT", "loads another kernel"),
    ("MAC_ADMIN", "changes the mandatory access control"),
    ("MAC_OVERRIDE", "ignores the mandatory access control"),
    ("BPF", "loads programs into the kernel"),
    (
        "PERFMON",
        "traces the kernel and all processes of the device",
    ),
    (
        "CHECKPOINT_RESTORE",
        "opens the memory of other processes and chooses their IDs",
    ),
    (
        "AUDIT_CONTROL",
        "switches off the audit of the whole device",
    ),
];
/// Kernel parameters that each container has for itself, beside those below `net.`.
const OWN_SYSCTLS: [&str; 12] = [
    "kernel.domainname",
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
    "fs.mqueue.msg_max",
    "fs.mqueue.msgsize_max",
    "fs.mqueue.queues_max",
];
/// OCI runtimes that run a container as it was requested. The engine takes any other
/// value for a program, or for the path of one, and runs it as root.
const RUNTIMES: [&str; 6] = [
    "nvidia",
    "nvidia-cdi",
    "runc",
    "crun",
    "runsc",
    "io.containerd.runc.v2",
];

/// Returns why a grant amounts to root on the device, `None` for an ordinary one.
pub(super) fn reason(part: &Part) -> Option<String> {
    let device = |path: &String| {
        let why = devices::reason(path)?;
        Some(format!("device {path:?}, {why}"))
    };
    let mut devices = part.devices.iter().filter_map(device);
    let mount = |mount: &super::granted::HostMount| {
        let why = paths::reason(&mount.source, mount.read_only)?;
        Some(format!("mount of {:?}, {why}", mount.source))
    };
    let mut mounts = part.mounts.iter().filter_map(mount);
    let mut capabilities = part.capabilities.iter().filter_map(|name| capability(name));
    let sysctl = |name: &&String| !is_own_sysctl(name);
    let shared = part.sysctls.keys().find(sysctl);
    let runtime = part.runtime.as_deref();
    let unknown = runtime.filter(|name| !RUNTIMES.contains(name));
    let sysctl = |name| format!("kernel parameter {name:?}, which the whole device has in common");
    let program = |name| format!("runtime {name:?}, which may be any program of the device");
    (devices.next())
        .or_else(|| mounts.next())
        .or_else(|| capabilities.next())
        .or_else(|| shared.map(sysctl))
        .or_else(|| unknown.map(program))
}

/// Returns whether `path` is strictly below `directory`.
pub(super) fn is_below(path: &str, directory: &str) -> bool {
    let (path, directory) = (paths::real(path), paths::real(directory));
    let rest = path.strip_prefix(directory.trim_end_matches('/'));
    rest.is_some_and(|rest| rest.len() > 1 && rest.starts_with('/'))
}

fn capability(name: &str) -> Option<String> {
    let (_, why) = CAPABILITIES.iter().find(|(root, _)| *root == name)?;
    Some(format!("capability {name}, which {why}"))
}

fn is_own_sysctl(name: &str) -> bool {
    // A slash or an empty part could lead out of `net`: the name becomes a path.
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
    let mut parts = name.split('.');
    let is_plain = parts.all(|part| !part.is_empty() && part.chars().all(plain));
    is_plain && (name.starts_with("net.") || OWN_SYSCTLS.contains(&name))
}
