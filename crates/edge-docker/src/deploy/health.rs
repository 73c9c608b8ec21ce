//! Health of a new container, from the engine's events instead of polling.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use edge_common::{Root, log};
use tokio::signal::unix::SignalKind;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{Instant, timeout};

use crate::engine::client;
use crate::engine::containers::{self, Container};
use crate::engine::signals::{Event, listen};

/// Time that a container without a health check has to run.
const SETTLE_TIME: Duration = Duration::from_secs(5);

/// Signals and events of the engine, in their order.
pub(super) struct Watch {
    sender: UnboundedSender<Event>,
    /// Receiving end.
    pub(super) events: UnboundedReceiver<Event>,
}

impl Watch {
    /// Begins to listen: SIGINT, SIGTERM and SIGHUP no longer end the process.
    pub(super) fn new() -> Result<Self> {
        let (sender, events) = unbounded_channel();
        for (kind, event) in [
            (SignalKind::interrupt(), Event::Stop),
            (SignalKind::terminate(), Event::Stop),
            (SignalKind::hangup(), Event::Hangup),
        ] {
            listen(kind, &sender, move || event)?;
        }
        Ok(Self { sender, events })
    }

    /// Returns a sender of further events.
    pub(super) fn sender(&self) -> UnboundedSender<Event> {
        self.sender.clone()
    }

    /// Starts a container and waits until it works, at most `limit`; returns what shows
    /// it. One that runs `once` may also end, with 0.
    pub(super) async fn trial(
        &mut self,
        root: &Root,
        id: &str,
        once: bool,
        limit: Duration,
    ) -> Result<String> {
        // Listening before the start: a container can fail before anyone looks.
        let (changed, lost) = (self.sender(), self.sender());
        let listening = client::events(root, id, move |_| {
            let _ = changed.send(Event::Changed);
        });
        let listening = listening.await?;
        tokio::spawn(async move {
            let _ = listening.await;
            let _ = lost.send(Event::Lost);
        });
        containers::start(root, id).await?;
        let start = Instant::now();
        loop {
            // An event shows only that something changed; the state is always read.
            let container = containers::find(root, id).await?;
            let container = container.context("the new container is gone")?;
            let wait = match judge(&container, once, start.elapsed(), limit) {
                Verdict::Works(why) => return Ok(why),
                Verdict::Broken(why) => bail!(why),
                Verdict::Wait(time) => time,
            };
            match timeout(wait, self.events.recv()).await {
                Ok(Some(Event::Stop)) => bail!("interrupted"),
                Ok(Some(Event::Lost)) => bail!("the engine ended"),
                // A lost connection cancels nothing: edge-app asks for the result later.
                _ => {}
            }
        }
    }
}

/// Verdict on a container after some time.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    Works(String),
    Broken(String),
    Wait(Duration),
}

fn judge(container: &Container, once: bool, elapsed: Duration, limit: Duration) -> Verdict {
    let state = &container.state;
    let seconds = elapsed.as_secs_f32();
    if once && !state.running && state.exit_code == 0 && state.error.is_empty() {
        return Verdict::Works(format!("it ended after {seconds:.1} s with exit code 0"));
    }
    // Before the health, which is about a process that may have ended since.
    if !state.running || state.restarting {
        let memory = if state.oom_killed {
            ", out of memory"
        } else {
            ""
        };
        return Verdict::Broken(format!(
            "it ended after {seconds:.1} s with exit code {}{memory}",
            state.exit_code
        ));
    }
    let health = state.health.as_ref().filter(|h| h.status != "none");
    let settle = SETTLE_TIME.min(limit);
    match health.map(|h| (h.status.as_str(), h)) {
        Some(("healthy", _)) => Verdict::Works(format!("healthy after {seconds:.1} s")),
        Some(("unhealthy", health)) => {
            Verdict::Broken(format!("its health check fails{}", last(health)))
        }
        Some((_, health)) if elapsed >= limit => Verdict::Broken(format!(
            "it did not become healthy within {} s{}",
            limit.as_secs(),
            last(health)
        )),
        Some(_) => Verdict::Wait(limit - elapsed),
        None if elapsed >= settle => Verdict::Works(format!(
            "it has been running for {} s (no health check)",
            settle.as_secs()
        )),
        None => Verdict::Wait(settle - elapsed),
    }
}

/// Returns the output of the last check.
fn last(health: &containers::Health) -> String {
    let check = health.log.as_deref().unwrap_or_default().last();
    let output = check.map(|c| log::printable(&c.output)).unwrap_or_default();
    if output.is_empty() {
        return String::new();
    }
    format!(": {}", output.chars().take(200).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::containers::{Check, Health, State};

    fn container(running: bool, health: Option<&str>) -> Container {
        let mut container = Container::default();
        container.state = State {
            running,
            exit_code: 3,
            health: health.map(|status| Health {
                status: status.into(),
                log: Some(vec![Check {
                    output: "no\nanswer".into(),
                }]),
            }),
            ..State::default()
        };
        container
    }

    fn after(running: bool, health: Option<&str>, seconds: u64) -> Verdict {
        let elapsed = Duration::from_secs(seconds);
        judge(
            &container(running, health),
            false,
            elapsed,
            Duration::from_secs(20),
        )
    }

    #[test]
    fn verdicts() {
        let broken = |verdict, text: &str| match verdict {
            Verdict::Broken(why) => assert!(why.contains(text), "{why}"),
            other => panic!("{other:?}"),
        };
        broken(after(false, None, 1), "exit code 3");
        broken(after(false, Some("healthy"), 1), "exit code 3");
        broken(after(true, Some("unhealthy"), 1), "fails: no answer");
        broken(after(true, Some("starting"), 20), "within 20 s: no answer");
        assert!(matches!(after(true, Some("healthy"), 1), Verdict::Works(_)));
        assert!(matches!(after(true, None, 5), Verdict::Works(_)));
        assert!(matches!(after(true, Some("none"), 5), Verdict::Works(_)));
        let done = Container::default();
        let (second, limit) = (Duration::from_secs(1), Duration::from_secs(20));
        assert!(matches!(
            judge(&done, true, second, limit),
            Verdict::Works(_)
        ));
        broken(judge(&done, false, second, limit), "exit code 0");
        let wait = |seconds| Verdict::Wait(Duration::from_secs(seconds));
        assert_eq!(after(true, None, 2), wait(3));
        assert_eq!(after(true, Some("starting"), 2), wait(18));
    }
}
