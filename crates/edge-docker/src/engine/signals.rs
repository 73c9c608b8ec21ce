//! Subscription to signals, which arrive as events in a tokio channel.

use anyhow::{Context, Result};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::UnboundedSender;

/// Event for which a deployment waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// The container changed its state, or the child process of the deployment ended.
    Changed,
    /// The engine closed the stream of events, for example because it was stopped.
    Lost,
    /// SIGINT or SIGTERM: the deployment is cancelled.
    Stop,
    /// SIGHUP: the terminal was closed, or the connection was lost.
    Hangup,
}

/// Subscribes to a signal: from then on each arrival sends an event, and the signal does
/// not end the process.
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
