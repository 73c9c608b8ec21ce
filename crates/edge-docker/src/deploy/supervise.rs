//! Process that waits for a deployment, and the one that does the work.
//!
//! The work is done by another execution of this program in a session of its own: an
//! SSH connection that breaks, or a terminal that closes, ends the waiting process and
//! not a deployment between two steps. See `docs/decisions/0014-re-exec-in-replace.md`.

use std::process::Stdio;

use anyhow::{Context, Result, bail};
use edge_common::Root;
use rustix::process::{Pid, Signal, kill_process, setsid};

use super::DETACHED;
use super::health::Watch;
use crate::engine::signals::Event;

/// Leaves the terminal and the process group of the caller.
pub(super) fn detach() {
    // It only fails for a leader of a group, which has left already.
    let _ = setsid();
}

/// Starts the process that does the work, and waits for it. SIGTERM and SIGINT are
/// forwarded to it; after a lost connection they are not, since sshd sends them then.
pub(super) async fn run(root: &Root, verb: &str, args: &[&str]) -> Result<()> {
    let mut watch = Watch::new()?;
    let mut child = root
        // The running program itself, wherever it is, also in a test.
        .command("/proc/self/exe")
        .args([verb, DETACHED])
        .args(args)
        .stdin(Stdio::null())
        .spawn()
        .context("starting the deployment")?;
    let pid = Pid::from_child(&child);
    let sender = watch.sender();
    let ended = tokio::task::spawn_blocking(move || {
        let status = child.wait();
        let _ = sender.send(Event::Changed);
        status
    });
    let mut connected = true;
    while let Some(event) = watch.events.recv().await {
        match event {
            Event::Changed => break,
            Event::Hangup => connected = false,
            // An error means that the child has just ended, which comes as an event.
            Event::Stop if connected => drop(kill_process(pid, Signal::TERM)),
            Event::Stop | Event::Lost => {}
        }
    }
    match ended.await.context("waiting for the deployment")??.code() {
        Some(0) => Ok(()),
        // The child has printed and logged why.
        Some(code) => std::process::exit(code),
        None => bail!("the deployment was killed: edge-docker replace --recover finishes it"),
    }
}
