//! Trial of a new container in a deployment: waits for events of the engine instead of
//! polling its health.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use edge_common::{Root, log};
use tokio::signal::unix::SignalKind;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::{Instant, timeout};

use super::steps::step;
use crate::engine::client;
use crate::engine::containers::{self, Container};
use crate::engine::signals::{Event, listen};
use crate::mounts::owners;
use crate::stored::app_limits;

/// Time for which a container without a health check has to run before it counts as
/// working.
const SETTLE_TIME: Duration = Duration::from_secs(5);

/// Time between two messages of a deployment that waits for the health check.
const TICK: Duration = Duration::from_secs(4);

/// Channel of signals and engine events, in the order of their arrival.
pub(super) struct Watch {
    sender: UnboundedSender<Event>,
    /// Receiver of the events, also read by the process that waits for a deployment.
    pub(super) events: UnboundedReceiver<Event>,
}

impl Watch {
    /// Creates the channel and subscribes to SIGINT, SIGTERM and SIGHUP, which from then
    /// on do not end the process.
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

    /// Returns a sender with which another task adds events to the channel.
    pub(super) fn sender(&self) -> UnboundedSender<Event> {
        self.sender.clone()
    }

    /// Starts container `id` and waits at most `limit` until it works. Returns the reason
    /// why it counts as working, for example `healthy after 2.0 s`. With `once`, a
    /// container that ends with exit code 0 counts too.
    pub(super) async fn trial(
        &mut self,
        root: &Root,
        id: &str,
        once: bool,
        limit: Duration,
    ) -> Result<String> {
        // The subscription precedes the start, because the container can fail at once.
        self.subscribe(root, id).await?;
        let found = containers::inspect(root, id).await?;
        app_limits::apply_to(root, id, &found);
        owners::give(root, id, &found).await?;
        let started = containers::start(root, id).await;
        app_limits::end_start(root, &found);
        started?;
        self.wait(root, id, once, Duration::ZERO, limit).await
    }

    /// Waits at most `limit` until container `id`, which has been running for `uptime`,
    /// shows that it works.
    pub(super) async fn confirm(
        &mut self,
        root: &Root,
        id: &str,
        uptime: Duration,
        limit: Duration,
    ) -> Result<()> {
        self.subscribe(root, id).await?;
        self.wait(root, id, false, uptime, uptime + limit)
            .await
            .map(drop)
    }

    /// Receives the events of container `id` from now on.
    async fn subscribe(&self, root: &Root, id: &str) -> Result<()> {
        let (changed, lost) = (self.sender(), self.sender());
        let listening = client::events(root, id, move |_| {
            let _ = changed.send(Event::Changed);
        });
        let listening = listening.await?;
        tokio::spawn(async move {
            let _ = listening.await;
            let _ = lost.send(Event::Lost);
        });
        Ok(())
    }

    /// Waits until container `id` works or has failed, at most until it has been running
    /// for `limit`; it has been for `uptime` already.
    async fn wait(
        &mut self,
        root: &Root,
        id: &str,
        once: bool,
        uptime: Duration,
        limit: Duration,
    ) -> Result<String> {
        let start = Instant::now();
        let mut shown = start;
        loop {
            // An event only reports that the state changed, so the state is always read.
            let container = containers::find(root, id).await?;
            let container = container.context("the new container is gone")?;
            let wait = match judge(&container, once, uptime + start.elapsed(), limit) {
                Verdict::Works(why) => return Ok(why),
                Verdict::Broken(why) => bail!(why),
                Verdict::Wait(time) => time,
            };
            if shown.elapsed() >= TICK && has_health(&container) {
                let (elapsed, limit) = ((uptime + start.elapsed()).as_secs(), limit.as_secs());
                step(format_args!("waiting for health, {elapsed} s of {limit}"));
                shown = Instant::now();
            }
            match timeout(wait.min(TICK), self.events.recv()).await {
                Ok(Some(Event::Stop)) => bail!("interrupted"),
                Ok(Some(Event::Lost)) => bail!("the engine ended"),
                // Also `Hangup`: a lost connection cancels nothing, because edge-app
                // requests the result later.
                _ => {}
            }
        }
    }
}

fn has_health(container: &Container) -> bool {
    let health = container.state.health.as_ref();
    health.is_some_and(|health| health.status != "none")
}

/// Result of one check of a container on trial; `Wait` contains the time until the next
/// check.
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
    // Checked before the health, which may describe a process that has since ended.
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

/// Returns the output of the last health check for an error message, at most 200
/// characters after `: `; empty if there is none.
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
