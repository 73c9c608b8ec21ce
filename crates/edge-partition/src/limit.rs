//! A program that may take only so long.

use std::fs::File;
use std::io::{Read, Seek};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use edge_common::log::printable;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// How long a program may take to end once it is asked to.
const GRACE: Duration = Duration::from_secs(10);
/// How much of its words is kept, in bytes.
const WORDS: u64 = 2000;

/// How a program ended.
pub struct Ended {
    /// Nothing if its time was over.
    pub status: Option<ExitStatus>,
    /// What it said, on one line.
    pub words: String,
}

/// Runs `command`; when `limit` is over it is asked to end, then made to.
///
/// # Errors
/// It cannot be started.
pub fn run(command: &mut Command, limit: Duration) -> Result<Ended> {
    let name = command.get_program().to_string_lossy().into_owned();
    let context = || format!("running {name}");
    // A file in memory takes any number of words and never blocks.
    let memory = rustix::fs::memfd_create("words", rustix::fs::MemfdFlags::CLOEXEC);
    let mut memory = File::from(memory.context("making a file in memory")?);
    let mut child = command
        .stdin(Stdio::null())
        .stdout(memory.try_clone().with_context(context)?)
        .stderr(memory.try_clone().with_context(context)?)
        .spawn()
        .with_context(context)?;
    let in_time = ends_within(&child, limit)?;
    if !in_time {
        stop(&mut child)?;
    }
    let status = child.wait().with_context(context)?;
    let mut words = Vec::new();
    memory.rewind().with_context(context)?;
    memory
        .take(WORDS)
        .read_to_end(&mut words)
        .with_context(context)?;
    Ok(Ended {
        status: in_time.then_some(status),
        words: printable(&String::from_utf8_lossy(&words)),
    })
}

fn pid(child: &Child) -> Result<Pid> {
    let number = i32::try_from(child.id()).ok();
    number
        .and_then(Pid::from_raw)
        .context("a process without a number")
}

/// Waits for its end by event.
fn ends_within(child: &Child, limit: Duration) -> Result<bool> {
    let process = pidfd_open(pid(child)?, PidfdFlags::empty())
        .context("watching a process that was started")?;
    let end = Instant::now() + limit;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let left = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        match poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&left)) {
            Ok(count) => return Ok(count > 0),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("waiting for a process"),
        }
    }
}

/// Asks it to end, which leaves a file system whole, then makes it.
fn stop(child: &mut Child) -> Result<()> {
    // It may end in between.
    let _ = rustix::process::kill_process(pid(child)?, rustix::process::Signal::TERM);
    if !ends_within(child, GRACE)? {
        child.kill().context("ending a process")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use edge_common::Root;

    fn sh(script: &str, limit: u64) -> Ended {
        let mut command = Root::system().command("/bin/sh");
        command.args(["-c", script]);
        run(&mut command, Duration::from_millis(limit)).unwrap()
    }

    #[test]
    fn ends_by_itself_or_is_ended() {
        let ended = sh("echo one; echo two >&2; exit 3", 60_000);
        assert_eq!(ended.status.unwrap().code(), Some(3));
        assert_eq!(ended.words, "one two");
        let start = Instant::now();
        assert!(sh("exec sleep 600", 50).status.is_none());
        assert!(start.elapsed() < GRACE);
    }
}
