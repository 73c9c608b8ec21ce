//! Caller of this process: an engineer, a unit of `/data/services`, or a unit of the
//! read-only root.

use edge_common::Root;
use edge_common::level::Level;

/// Control groups of the units that need the level `operate` on every device: they start
/// and finish what was signed, and their files are in the read-only root.
const SYSTEM_UNITS: [&str; 5] = [
    "/system.slice/edge-bootstrap.service",
    "/system.slice/edge-docker-recover.service",
    "/system.slice/edge-vpn.service",
    "/system.slice/edge-vpn-client.service",
    "/system.slice/docker.service",
];

/// Returns the least level that the caller has by itself: `operate` for a unit of the
/// read-only root, otherwise `look`, so that the policy of the device decides.
pub(crate) fn least_level(root: &Root) -> Level {
    // The control group, because the kernel states it and only root can change it: a
    // login session and a unit of `/data/services` are in another one, and edge-generator
    // links no unit of a name that the root has already.
    let text = std::fs::read_to_string(root.path("/proc/self/cgroup")).unwrap_or_default();
    let group = text.lines().find_map(|line| line.strip_prefix("0::"));
    match group.is_some_and(|group| SYSTEM_UNITS.contains(&group)) {
        true => Level::Operate,
        false => Level::Look,
    }
}
