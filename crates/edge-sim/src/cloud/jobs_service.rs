//! Service around the Jobs engine: its clock, its stored state, and delivery of what it
//! publishes.

use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use edge_common::{file, log};

use super::jobs::{Call, Effects, Engine, Publication, Response};
use super::{index, policy};

/// Largest size of the stored state, in bytes.
const MAX_STATE: u64 = 64 * 1024 * 1024;

/// Delivery of a published message to its subscribers.
type Deliver = Box<dyn Fn(&Publication) + Send>;

struct State {
    engine: Engine,
    deliver: Deliver,
    /// Seconds by which the clock of the service is ahead.
    ahead: u64,
    over: bool,
}

/// Jobs engine of a running cloud. Its state is `jobs.json`, of which it is the only writer.
pub(crate) struct JobsService {
    dir: PathBuf,
    state: Mutex<State>,
    changed: Condvar,
}

impl JobsService {
    /// Creates the service with the state in `dir`. `deliver` receives notifications in their
    /// order and must not call the service.
    ///
    /// # Errors
    /// If the stored state is unreadable.
    pub(crate) fn load(dir: &Path, deliver: Deliver) -> Result<Self> {
        let path = dir.join("jobs.json");
        let engine = match path.exists() {
            true => Engine::load(&file::read(&path, MAX_STATE)?)?,
            false => Engine::default(),
        };
        let state = State {
            engine,
            deliver,
            ahead: 0,
            over: false,
        };
        Ok(Self {
            dir: dir.into(),
            state: Mutex::new(state),
            changed: Condvar::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Does what happens by itself at its time, until [`JobsService::end`].
    pub(crate) fn keep_time(&self) {
        let mut state = self.lock();
        while !state.over {
            let wait = match state.engine.due() {
                None => Duration::MAX,
                Some(due) => Duration::from_secs(due.saturating_sub(state.now())),
            };
            if wait.is_zero() {
                let now = state.now();
                let published = state.engine.tick(now);
                self.publish(&state, &published, true);
                continue;
            }
            let waited = self.changed.wait_timeout(state, wait);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Ends [`JobsService::keep_time`].
    pub(crate) fn end(&self) {
        self.lock().over = true;
        self.changed.notify_all();
    }

    /// Turns the clock of the service ahead.
    pub(crate) fn pass(&self, seconds: u64) {
        self.lock().ahead += seconds;
        self.changed.notify_all();
    }

    /// Handles a message that a device published. Notifications are delivered after
    /// `answered` returns, as AWS sends them after the answer.
    pub(crate) fn receive<T>(
        &self,
        topic: &str,
        payload: &[u8],
        answered: impl FnOnce(Option<Publication>) -> T,
    ) -> T {
        let mut state = self.lock();
        let now = state.now();
        let Effects {
            answer,
            notifications,
        } = state.engine.receive(now, topic, payload);
        let writes = topic.ends_with("/update") || topic.ends_with("/start-next");
        let result = answered(answer);
        self.publish(&state, &notifications, writes);
        result
    }

    /// Adds a thing that was registered to the groups of the provisioning template.
    ///
    /// # Errors
    /// If the template is malformed.
    pub(crate) fn enroll(&self, thing: &str) -> Result<()> {
        let groups = policy::thing_groups()?;
        let mut state = self.lock();
        let now = state.now();
        let published = state.engine.enroll(now, thing, &groups);
        self.publish(&state, &published, true);
        Ok(())
    }

    /// Answers a query of the index of things.
    pub(crate) fn search(&self, body: &[u8]) -> Response {
        let state = self.lock();
        index::search(&self.dir, body, |group| state.engine.members(group))
    }

    /// Handles a request to the control plane.
    pub(crate) fn call(&self, call: &Call) -> Response {
        let things = things(&self.dir);
        let mut state = self.lock();
        for thing in things.unwrap_or_default() {
            state.engine.register(&thing);
        }
        let now = state.now();
        let (response, published) = state.engine.call(now, call);
        self.publish(&state, &published, call.method != "GET");
        response
    }

    /// Stores the state if it changed, and delivers messages.
    fn publish(&self, state: &State, published: &[Publication], changed: bool) {
        if changed || !published.is_empty() {
            let stored = state.engine.state();
            let stored =
                stored.and_then(|text| file::write(&self.dir.join("jobs.json"), &text, 0o600));
            if let Err(error) = stored {
                log::error(format_args!("{error:#}"));
            }
        }
        for publication in published {
            (state.deliver)(publication);
        }
        self.changed.notify_all();
    }
}

impl State {
    fn now(&self) -> u64 {
        let clock = SystemTime::now().duration_since(UNIX_EPOCH);
        clock.map_or(0, |clock| clock.as_secs()) + self.ahead
    }
}

/// Returns the names of the things that are registered in `dir`.
fn things(dir: &Path) -> Result<Vec<String>> {
    let entries = std::fs::read_dir(dir.join("things")).context("reading things")?;
    let names = entries.flatten().filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        Some(name.strip_suffix(".pem")?.to_string())
    });
    Ok(names.collect())
}
