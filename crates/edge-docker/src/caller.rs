//! Caller of this process: an engineer, a unit of `/data/services`, or a unit of the
//! read-only root.

use anyhow::Result;
use edge_common::Root;
use edge_common::contract::exit_code::NEEDS_ROOT;
use edge_common::contract::path::SERVICES;
use edge_common::exit::Failure;
use edge_common::level::Level;
use edge_docker_policy::cli::commands::Command;
use edge_docker_policy::refusal::refuse;

/// Number of arguments that a message repeats.
const MAX_SHOWN: usize = 12;
/// Control groups of the units that need the level `operate` on every device: they start
/// and finish what was signed, and their files are in the read-only root.
const SYSTEM_UNITS: [&str; 6] = [
    "/system.slice/edge-bootstrap.service",
    "/system.slice/edge-docker-recover.service",
    "/system.slice/edge-fleet.service",
    "/system.slice/edge-vpn.service",
    "/system.slice/edge-vpn-client.service",
    "/system.slice/docker.service",
];

/// Refuses a command that was not started by root, and says what to type: docker's client
/// would only name the engine's socket, and advise to join a group that does not exist.
pub(crate) fn require_root(command: Command, args: &[&str]) -> Result<()> {
    let is_help = command == Command::Help || args.contains(&"--help");
    // sshd runs a hidden command as another user.
    if is_help || command.entry().is_hidden() || rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let plain = |c: char| c.is_ascii_alphanumeric() || "_-./:=@,+%".contains(c);
    let is_plain = |arg: &&&str| !arg.is_empty() && arg.chars().all(plain);
    let typed: Vec<_> = args
        .iter()
        .take(MAX_SHOWN)
        .take_while(is_plain)
        .copied()
        .collect();
    let rest = if typed.len() < args.len() { " …" } else { "" };
    Err(Failure::error(
        NEEDS_ROOT,
        format_args!(
            "only root reaches the engine: type sudo edge-docker {}{rest}",
            typed.join(" ")
        ),
    ))
}

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
