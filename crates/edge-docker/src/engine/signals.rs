//! Signals as events of a channel.

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::UnboundedSender;

/// What ends a wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// Something happened to the container.
    Changed,
    /// The engine ended.
    Lost,
    /// Somebody wants us to stop.
    Stop,
    /// The terminal or the connection is gone.
    Hangup,
}

/// From now on that signal ends nothing by itself, and comes as an event.
///
/// # Errors
/// As `sigaction`.
pub fn notice<T: Send + 'static>(
    kind: SignalKind,
    sender: &UnboundedSender<T>,
    event: impl Fn() -> T + Send + 'static,
) -> Result<()> {
    let mut signal = signal(kind).context("noticing signals")?;
    let sender = sender.clone();
    tokio::spawn(
        async move { while signal.recv().await.is_some() && sender.send(event()).is_ok() {} },
    );
    Ok(())
}
