//! Two processes of a deployment: the parent, which waits, and its child, which does the
//! work.
//!
//! The child is this program, executed again in its own session: when an SSH connection
//! breaks or a terminal closes, the parent ends, and the deployment is not interrupted
//! between two steps. See `docs/decisions/0014-re-exec-in-replace.md`.

use std::process::Stdio;

use anyhow::{Context, Result, bail};
use edge_common::Root;
use rustix::process::{Pid, Signal, kill_process, setsid};

use super::DETACHED;
use super::health::Watch;
use crate::engine::signals::Event;

/// Moves this process to a new session, so that signals to the caller's terminal and
/// process group do not reach it.
pub(super) fn detach() {
    // Fails only for the leader of a process group, which is no longer in the caller's
    // group.
    let _ = setsid();
}

/// Starts the child and waits for it. SIGTERM and SIGINT are forwarded as SIGTERM, but
/// not after SIGHUP: when a connection is lost, sshd sends them too.
pub(super) async fn run(root: &Root, verb: &str, args: &[&str]) -> Result<()> {
    let mut watch = Watch::new()?;
    let mut child = root
        // Refers to the running program wherever it is installed, also in a test root.
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
            // An error means that the child has just ended, which arrives as an event.
            Event::Stop if connected => drop(kill_process(pid, Signal::TERM)),
            Event::Stop | Event::Lost => {}
        }
    }
    match ended.await.context("waiting for the deployment")??.code() {
        Some(0) => Ok(()),
        // The child has already printed and logged the reason.
        Some(code) => std::process::exit(code),
        None => bail!("the deployment was killed: edge-docker replace --recover finishes it"),
    }
}
