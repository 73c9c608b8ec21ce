//! Engine of AWS IoT Jobs with thing groups: a state machine without I/O, whose clock its
//! caller turns. [`Engine::receive`] is the data plane of devices, [`Engine::call`] the
//! control plane of operators, [`Engine::tick`] what happens by itself.
//!
//! Known differences from AWS: timers end on the second, cancellation and deletion take
//! effect at once, unknown fields of the control plane are refused, members of JSON objects
//! are in alphabetical order, and documents are at most 127 levels deep.

mod arn;
mod change;
mod context;
mod control_plane;
mod data_plane;
mod execution_calls;
mod fields;
mod group_calls;
mod messages;
mod payloads;
mod quota;
mod refusal;
mod rollout;
mod state;
mod validation;

use anyhow::{Context, Result};
pub use messages::{Call, Effects, Publication, Response};
use quota::Quota;
use state::Account;

/// Jobs, executions and thing groups of an account.
#[derive(Debug, Default)]
pub struct Engine {
    account: Account,
    reads: Quota,
    writes: Quota,
    calls: quota::Calls,
}

impl Engine {
    /// Creates an engine with the state that [`Engine::state`] returned.
    ///
    /// # Errors
    /// If the state is not that of an engine.
    pub fn load(state: &[u8]) -> Result<Self> {
        let account = serde_json::from_slice(state).context("parsing the state of jobs")?;
        Ok(Self {
            account,
            ..Self::default()
        })
    }

    /// Returns the state, JSON.
    ///
    /// # Errors
    /// If the state cannot be written as JSON, which does not happen.
    pub fn state(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(&self.account).context("writing the state of jobs")
    }

    /// Adds a registered thing; jobs and groups can only name such things.
    pub fn register(&mut self, thing: &str) {
        self.account.things.insert(thing.into());
    }

    /// Adds a new thing to groups, which are created if absent, as fleet provisioning does.
    pub fn enroll(&mut self, now: u64, thing: &str, groups: &[String]) -> Vec<Publication> {
        let mut publications = self.tick(now);
        let now = self.account.clock;
        self.register(thing);
        for group in groups {
            group_calls::enroll(&mut self.account, group, thing, now);
        }
        publications.extend(payloads::notifications(&mut self.account, now));
        publications
    }

    /// Returns the members of a thing group; `None` if there is no such group.
    pub fn members(&self, group: &str) -> Option<Vec<String>> {
        let group = self.account.groups.get(group)?;
        Some(group.members.iter().cloned().collect())
    }

    /// Returns the time at which [`Engine::tick`] has something to do.
    pub fn due(&self) -> Option<u64> {
        self.account.due()
    }

    /// Does what is due until `now`: batches, timers, schedules.
    pub fn tick(&mut self, now: u64) -> Vec<Publication> {
        let mut publications = Vec::new();
        while let Some(at) = self.account.due().filter(|at| *at <= now) {
            // An event that was due before the newest request happens now.
            let at = at.max(self.account.clock);
            self.account.fire(at);
            publications.extend(payloads::notifications(&mut self.account, at));
        }
        self.account.clock = self.account.clock.max(now);
        publications
    }

    /// Handles a message that a device published. A clock that goes back stands still.
    pub fn receive(&mut self, now: u64, topic: &str, payload: &[u8]) -> Effects {
        let mut notifications = self.tick(now);
        let now = self.account.clock;
        let Some((_, request)) = data_plane::parse(topic) else {
            return Effects {
                answer: None,
                notifications,
            };
        };
        let quota = if request.writes() {
            &mut self.writes
        } else {
            &mut self.reads
        };
        let throttled = !quota.take(now, quota::DATA_PLANE);
        let answer = data_plane::answer(&mut self.account, topic, payload, now, throttled);
        notifications.extend(payloads::notifications(&mut self.account, now));
        Effects {
            answer,
            notifications,
        }
    }

    /// Handles a request to the control plane. A clock that goes back stands still.
    pub fn call(&mut self, now: u64, call: &Call) -> (Response, Vec<Publication>) {
        let mut publications = self.tick(now);
        let now = self.account.clock;
        let response = control_plane::respond(&mut self.account, &mut self.calls, call, now);
        publications.extend(payloads::notifications(&mut self.account, now));
        (response, publications)
    }
}
