//! A parent for everything that a run starts. It adopts daemons that left their own
//! parent, reaps them as init would, and so lets [`crate::leftovers`] see them.

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, set_child_subreaper, wait};

use crate::shell;

/// Interval of looking for ended children and for signals.
const INTERVAL: Duration = Duration::from_millis(20);

/// Runs this program again with the hidden `--supervised` and the arguments it was given;
/// returns whether it succeeded.
pub(crate) fn run() -> Result<bool> {
    let me = std::env::current_exe().context("finding this program")?;
    set_child_subreaper(Some(rustix::process::getpid())).context("adopting daemons")?;
    let mut command = shell::command(me);
    command
        .arg("--supervised")
        .args(std::env::args_os().skip(1));
    // Its end is noticed below, among that of all others.
    let child = command.spawn().context("starting the run")?;
    let child = Pid::from_raw(i32::try_from(child.id())?).context("its process")?;
    let mut interrupted = false;
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) if pid == child => {
                return Ok(ExitStatus::from_raw(status.as_raw()).success());
            }
            Ok(Some(_)) => continue,
            Ok(None) => std::thread::sleep(INTERVAL),
            Err(error) => return Err(error).context("waiting for the run"),
        }
        // A signal to the terminal's whole group reaches the run by itself; one to this
        // process alone does not.
        if !interrupted && shell::going_on().is_err() {
            interrupted = true;
            kill_process(child, Signal::TERM).context("ending the run")?;
        }
    }
}
