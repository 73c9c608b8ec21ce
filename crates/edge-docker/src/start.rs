//! Reset of what a caller leaves to a process: umask, resource limits, priority, working
//! directory, environment, and ignored or blocked signals.
//!
//! A caller of sudo sets them for root's process too. With a limit of open files or of
//! CPU time a command would end between its effect and its record, and with
//! `umask 0777` its files would be unreadable for others.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::sync::OnceLock;

use edge_common::Root;
use nix::sys::signal::SigSet;
use rustix::fs::{Mode, OFlags, open};
use rustix::process::{
    Resource, Rlimit, getpriority_process, getrlimit, setpriority_process, setrlimit, umask,
};
use tokio::signal::unix::{SignalKind, signal};

/// Variables that edge-docker reads or forwards; all others are removed.
const KEPT: [&str; 17] = [
    "TERM",
    "LANG",
    "PATH",
    "HOME",
    "SHELL",
    "USER",
    "LOGNAME",
    "MAIL",
    "SUDO_USER",
    "SUDO_UID",
    "SUDO_GID",
    "SUDO_COMMAND",
    "JOURNAL_STREAM",
    // systemd sets these for a unit; to execute again would only cost time.
    "MEMORY_PRESSURE_WATCH",
    "MEMORY_PRESSURE_WRITE",
    "RUNTIME_DIRECTORY",
    "SYSTEMD_EXEC_PID",
];
/// Variables of the service manager for sockets and notifications.
const KEPT_PREFIXES: [&str; 5] = ["LISTEN_", "NOTIFY_", "INVOCATION_", "LC_", "WATCHDOG_"];
/// Resource limits that are removed. Those of systemd's units are not lower.
const UNLIMITED: [Resource; 9] = [
    Resource::As,
    Resource::Cpu,
    Resource::Data,
    Resource::Fsize,
    Resource::Locks,
    Resource::Msgqueue,
    Resource::Nproc,
    Resource::Rss,
    Resource::Sigpending,
];
/// Resource limits that get systemd's default values: soft, hard.
const LIMITED: [(Resource, u64, Option<u64>); 4] = [
    (Resource::Nofile, 1024, Some(524_288)),
    (Resource::Stack, 8 << 20, None),
    (Resource::Memlock, 8 << 20, Some(8 << 20)),
    // A core file would hold credentials.
    (Resource::Core, 0, Some(0)),
];
/// Signals whose default action a caller may have disabled, with an effect on this
/// program or on docker's client: SIGQUIT and SIGINT of background processes and SIGHUP
/// of nohup stay ignored.
const SIGNALS: [i32; 9] = [SIGCHLD, 10, 12, 14, 15, 24, 25, 26, 28];
const SIGCHLD: i32 = 17;
/// Working directory of the caller.
static CALLER_DIRECTORY: OnceLock<OwnedFd> = OnceLock::new();
/// SIGTSTP, which a terminal sends at Ctrl-Z.
const SIGTSTP: i32 = 20;

/// Resets what the caller left to this process. Executes the program again if its
/// environment contains variables that it must not have: within a process they could not
/// be removed safely.
pub fn reset(root: &Root) {
    umask(Mode::from_raw_mode(0o022));
    // Before any thread, which would inherit the mask, as every program that this one
    // executes does. With a blocked SIGTERM a deployment could not be cancelled, and with a
    // blocked SIGCHLD the end of docker's client would not be noticed.
    let _ = SigSet::empty().thread_set_mask();
    // Failure of any step is no reason to stop: a unit without the capability cannot
    // raise its limits, and has those of its unit file.
    raise_limits();
    if getpriority_process(None).is_ok_and(|nice| nice > 0) {
        let _ = setpriority_process(None, 0);
    }
    let score = "/proc/self/oom_score_adj";
    let value = fs::read_to_string(score).unwrap_or_default();
    if value.trim().parse().is_ok_and(|value: i32| value > 0) {
        let _ = edge_common::file::put(score.as_ref(), b"0", 0o644);
    }
    if std::env::vars_os().any(|(name, _)| !is_kept(&name)) {
        // Returns only an error.
        let error = execute_again(root);
        edge_common::log::warn(format_args!("resetting the environment: {error}"));
    }
    // After the last execution, which would lose the descriptor.
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    if let Ok(directory) = open(".", flags, Mode::empty()) {
        let _ = CALLER_DIRECTORY.set(directory);
    }
    let _ = std::env::set_current_dir("/");
}

/// Returns the working directory of the caller, opened for paths relative to it; `None`
/// if it was removed.
pub(crate) fn caller_directory() -> Option<BorrowedFd<'static>> {
    CALLER_DIRECTORY.get().map(AsFd::as_fd)
}

fn is_kept(name: &OsString) -> bool {
    let name = name.to_string_lossy();
    KEPT.contains(&&*name) || KEPT_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
}

fn execute_again(root: &Root) -> io::Error {
    let kept = std::env::vars_os().filter(|(name, _)| is_kept(name));
    let mut command = root.command("/proc/self/exe");
    command
        .env_clear()
        .envs(kept)
        .args(std::env::args_os().skip(1));
    command.exec()
}

fn raise_limits() {
    for resource in UNLIMITED {
        set(resource, None, None);
    }
    for (resource, soft, hard) in LIMITED {
        set(resource, Some(soft), hard);
    }
}

/// Sets a limit if it is another one. Without the capability for a higher hard limit, the
/// soft one is raised as far as the hard one permits.
fn set(resource: Resource, soft: Option<u64>, hard: Option<u64>) {
    let now = getrlimit(resource);
    let wanted = Rlimit {
        current: soft,
        maximum: hard,
    };
    if now == wanted || setrlimit(resource, wanted).is_ok() {
        return;
    }
    let below = |limit: Option<u64>| match (limit, now.maximum) {
        (Some(limit), Some(maximum)) => Some(limit.min(maximum)),
        (limit, maximum) => limit.or(maximum),
    };
    let reachable = Rlimit {
        current: below(soft),
        maximum: now.maximum,
    };
    let _ = setrlimit(resource, reachable);
}

/// Handles signals that the caller ignores or that stop a process, so that they have
/// their default action in programs that this one executes, and none in this one. Called
/// within a runtime of tokio, which keeps the handlers.
///
/// With an ignored SIGCHLD the end of docker's client would not be reported, and Ctrl-Z
/// would stop a process that holds a lock that others wait for.
pub(crate) fn handle_signals() {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    let is_ignored = |signal: &i32| ignored.unwrap_or(0) >> (signal - 1) & 1 == 1;
    for number in SIGNALS.into_iter().filter(is_ignored).chain([SIGTSTP]) {
        let _ = signal(SignalKind::from_raw(number));
    }
}
