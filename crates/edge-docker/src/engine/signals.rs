//! Signals as events of a channel.

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::UnboundedSender;

/// Event that ends a wait for a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// The engine reported a change of the container.
    Changed,
    /// The engine ended.
    Lost,
    /// SIGINT or SIGTERM.
    Stop,
    /// SIGHUP: the terminal or the connection is gone.
    Hangup,
}

/// Sends an event for each signal of a kind, which from now on does not end the process.
pub(crate) fn listen<T: Send + 'static>(
    kind: SignalKind,
    sender: &UnboundedSender<T>,
    event: impl Fn() -> T + Send + 'static,
) -> Result<()> {
    let mut signal = signal(kind).context("listening for signals")?;
    let sender = sender.clone();
    tokio::spawn(
        async move { while signal.recv().await.is_some() && sender.send(event()).is_ok() {} },
    );
    Ok(())
}
