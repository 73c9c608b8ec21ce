//! Parent process of a test or demo run. As a child subreaper it adopts orphaned daemons
//! and reaps them as init would, so that [`crate::leftovers`] can find daemons that still
//! run.

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, set_child_subreaper, wait};

use crate::shell;

/// Interval at which ended child processes and received signals are polled.
const INTERVAL: Duration = Duration::from_millis(20);

/// Runs this program again with its arguments and the hidden option `--supervised`;
/// returns whether that process succeeded.
pub(crate) fn run() -> Result<bool> {
    let me = std::env::current_exe().context("finding this program")?;
    set_child_subreaper(Some(rustix::process::getpid())).context("adopting daemons")?;
    let mut command = shell::command(me);
    command
        .arg("--supervised")
        .args(std::env::args_os().skip(1));
    // The loop below waits for this child together with all adopted processes.
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
        // After Ctrl-C the terminal sends the signal to the whole process group; a signal
        // to this process alone must be forwarded.
        if !interrupted && shell::going_on().is_err() {
            interrupted = true;
            kill_process(child, Signal::TERM).context("ending the run")?;
        }
    }
}
