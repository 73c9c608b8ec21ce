//! Caller of this process: an engineer, a unit of `/data/services`, or a unit of the
//! read-only root.

use anyhow::Result;
use edge_common::Root;
use edge_common::contract::path::SERVICES;
use edge_common::level::Level;
use edge_docker_policy::refusal::refuse;

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

/// Refuses a command that belongs to a unit of the engine, if an engineer or a unit of
/// `/data/services` called it.
pub(crate) fn require_service_manager(root: &Root, command: &str) -> Result<()> {
    // sudo sets the variable, and its caller cannot remove it. The control group alone
    // says less: on a developer's machine the engine may run below any unit.
    let is_typed = std::env::var_os("SUDO_UID").is_some();
    let text = std::fs::read_to_string(root.path("/proc/self/cgroup")).unwrap_or_default();
    let units = text
        .lines()
        .filter_map(|line| line.rsplit_once('/').map(|(_, unit)| unit));
    let mut units = units.filter(|unit| unit.ends_with(".service"));
    let is_app = units.any(|unit| root.path(SERVICES).join(unit).exists());
    if is_typed || is_app {
        return Err(refuse(format_args!(
            "{command} is refused: systemd calls it at the start of the engine"
        )));
    }
    Ok(())
}
