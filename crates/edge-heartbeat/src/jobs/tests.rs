//! Random schedules of the machine against the Jobs engine of the local cloud: answers and
//! notifications that are lost, doubled and reordered, connections that end, jobs that are
//! canceled, deleted and created again under the same ID.

use std::collections::{BTreeMap, VecDeque};
use std::path::Path;

use edge_common::contract::path::{FLEET_JOBS, FLEET_RESULTS};
use edge_sim::cloud::jobs::{Call, Engine, Publication};

use super::*;

const THING: &str = "edge-ai-s1";
const START: u64 = 1_800_000_000;

struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % limit
    }

    fn happens(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

/// Device and cloud with a link that loses messages.
struct World {
    random: Random,
    engine: Engine,
    jobs: Jobs,
    directory: tempfile::TempDir,
    wire: VecDeque<Publication>,
    now: u64,
    is_lossy: bool,
    tokens: u32,
    /// Requests in this second.
    requests: usize,
    created: u64,
    results: BTreeMap<Key, Value>,
    /// Final results that a device has given, and those that it gave up.
    said: BTreeMap<Key, String>,
}

impl World {
    fn new(seed: u64) -> Self {
        let memory = Path::new("/dev/shm");
        let place = if memory.exists() {
            memory.into()
        } else {
            std::env::temp_dir()
        };
        let directory = tempfile::tempdir_in(place).unwrap();
        let root = Root::at(directory.path());
        file::create(&root);
        let mut engine = Engine::default();
        engine.register(THING);
        Self {
            random: Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1),
            engine,
            jobs: Jobs::new(&root, &Pauses::default(), Duration::from_secs(15)),
            directory,
            wire: VecDeque::new(),
            now: START,
            is_lossy: true,
            tokens: 0,
            requests: 0,
            created: 0,
            results: BTreeMap::new(),
            said: BTreeMap::new(),
        }
    }

    fn clock(&self) -> Duration {
        Duration::from_secs(self.now - START)
    }

    fn call(&mut self, method: &str, path: String, body: Value) -> Value {
        let (path, query) = path.split_once('?').unwrap_or((&path, ""));
        let query = query.split_once('=');
        let call = Call {
            method: method.into(),
            path: path.into(),
            query: query
                .map(|(key, value)| (key.into(), value.into()))
                .into_iter()
                .collect(),
            body: body.to_string().into_bytes(),
        };
        let (response, published) = self.engine.call(self.now, &call);
        self.send(published);
        response.body
    }

    /// Puts messages on the wire, of which some are lost, doubled or late.
    fn send(&mut self, messages: Vec<Publication>) {
        for message in messages {
            if self.is_lossy && self.random.happens(15) {
                continue;
            }
            if self.is_lossy && self.random.happens(10) {
                self.wire.push_back(message.clone());
            }
            if self.is_lossy && self.random.happens(10) {
                self.wire.push_front(message);
            } else {
                self.wire.push_back(message);
            }
        }
    }

    /// Lets the machine send what is due, and delivers what is on the wire.
    fn exchange(&mut self) {
        self.requests = 0;
        loop {
            self.tokens += 1;
            let token = format!("t{}", self.tokens);
            let clock = self.clock();
            if let Some((topic, payload)) = self.jobs.next(clock, token) {
                self.requests += 1;
                assert!(self.requests < 60, "{topic}: a loop without a pause");
                assert!(!topic.contains("start-next"));
                if !self.is_lossy || !self.random.happens(10) {
                    let topic = format!("$aws/things/{THING}/{topic}");
                    let effects = self.engine.receive(self.now, &topic, payload.as_bytes());
                    self.send(effects.answer.into_iter().collect());
                    self.send(effects.notifications);
                }
            } else if let Some(message) = self.wire.pop_front() {
                let topic = message
                    .topic
                    .strip_prefix("$aws/things/edge-ai-s1/")
                    .unwrap();
                let payload = message.payload.to_string();
                self.jobs.handle(clock, topic, payload.as_bytes()).unwrap();
            } else {
                break;
            }
            self.jobs.save(self.clock(), self.now);
        }
        let due = self.engine.tick(self.now);
        self.send(due);
    }

    fn list(&self) -> Vec<Value> {
        let path = Root::at(self.directory.path()).path(FLEET_JOBS);
        let text = std::fs::read(path).unwrap_or(b"{}".to_vec());
        let list: Value = serde_json::from_slice(&text).unwrap();
        list["jobs"].as_array().cloned().unwrap_or_default()
    }

    /// Works on executions as edge-fleet does, in steps.
    fn fleet(&mut self, is_hurried: bool) {
        for job in self.list() {
            let key = Key {
                id: job["id"].as_str().unwrap().into(),
                number: job["number"].as_u64().unwrap(),
                queued: job["queued"].as_u64().unwrap(),
            };
            let status = match self.random.below(4) {
                _ if self.said.contains_key(&key) => continue,
                0 if !is_hurried => "IN_PROGRESS",
                1 => "FAILED",
                2 => "REJECTED",
                _ => "SUCCEEDED",
            };
            if status != "IN_PROGRESS" {
                self.said.insert(key.clone(), status.into());
            }
            let step = self.random.below(9).to_string();
            let result = json!({ "id": key.id, "number": key.number, "queued": key.queued,
                "status": status, "details": { "step": step } });
            self.results.insert(key, result);
        }
        let results: Vec<_> = self.results.values().rev().take(32).cloned().collect();
        let root = Root::at(self.directory.path());
        file::put(&root, &json!({ "v": 1, "results": results }));
        self.jobs.read_results();
    }

    fn event(&mut self) {
        let id = format!("edge-barn-{}", self.random.below(6));
        match self.random.below(12) {
            0..=3 => {
                self.created += 1;
                let document = json!({ "edge": 1, "number": self.created }).to_string();
                let body = json!({
                    "targets": [format!("arn:aws:iot:eu-central-1:123456789012:thing/{THING}")],
                    "document": document,
                    "timeoutConfig": { "inProgressTimeoutInMinutes": 60 },
                    "jobExecutionsRetryConfig": { "criteriaList": [
                        { "failureType": "FAILED", "numberOfRetries": 1 }] },
                });
                self.call("PUT", format!("/jobs/{id}"), body);
            }
            4 => drop(self.call("PUT", format!("/jobs/{id}/cancel"), json!({}))),
            5 => drop(self.call("DELETE", format!("/jobs/{id}?force=true"), json!({}))),
            6 => {
                let path = format!("/things/{THING}/jobs/{id}/cancel?force=true");
                drop(self.call("PUT", path, json!({})));
            }
            7 => {
                self.wire.clear();
                let clock = self.clock();
                self.jobs.connected(clock);
            }
            8 | 9 => self.fleet(false),
            _ => {}
        }
        self.now += match self.random.below(3) {
            0 => 0,
            1 => 1 + self.random.below(5),
            _ => self.random.below(600),
        };
        self.exchange();
    }

    /// Returns the pending executions of the thing in the cloud.
    fn pending(&mut self) -> Vec<Value> {
        let topic = format!("$aws/things/{THING}/jobs/get");
        let answer = self.engine.receive(self.now, &topic, b"{}").answer.unwrap();
        let list = |name: &str| answer.payload[name].as_array().cloned().unwrap();
        [list("inProgressJobs"), list("queuedJobs")].concat()
    }

    fn status(&mut self, key: &Key) -> Option<String> {
        let path = format!(
            "/things/{THING}/jobs/{}?executionNumber={}",
            key.id, key.number
        );
        // Within the quota of the control plane.
        self.now += 1;
        let body = self.call("GET", path, json!({}));
        let execution = &body["execution"];
        let is_same =
            execution["executionNumber"] == key.number && execution["queuedAt"] == key.queued;
        is_same.then(|| execution["status"].as_str().unwrap().into())
    }
}

/// Files of edge-fleet in a test root.
mod file {
    use super::*;

    pub(super) fn create(root: &Root) {
        std::fs::create_dir_all(root.path("/data/config/edge-fleet/in")).unwrap();
    }

    pub(super) fn put(root: &Root, results: &Value) {
        let path = root.path(FLEET_RESULTS);
        edge_common::file::put(&path, results.to_string().as_bytes(), 0o600).unwrap();
    }
}

/// `EDGE_SCHEDULES` sets another number of schedules, `EDGE_SEED` the first seed.
#[test]
fn no_execution_is_stuck_and_results_arrive_as_they_are() {
    let number = |name: &str, default: u64| {
        std::env::var(name).map_or(default, |v| v.parse().expect("a number"))
    };
    let (schedules, first) = (number("EDGE_SCHEDULES", 150), number("EDGE_SEED", 1));
    let mut checked = 0;
    for seed in first..first + schedules {
        let mut world = World::new(seed);
        world.jobs.connected(Duration::ZERO);
        for _ in 0..60 {
            world.event();
        }
        // The network is good again, and edge-fleet ends what is open.
        world.is_lossy = false;
        world.wire.clear();
        let clock = world.clock();
        world.jobs.connected(clock);
        for _ in 0..200 {
            world.exchange();
            world.fleet(true);
            world.exchange();
            let due = world.jobs.due().as_secs() + START;
            if world.pending().is_empty() && world.list().is_empty() {
                break;
            }
            world.now = due.clamp(world.now + 1, world.now + 600);
        }
        assert_eq!(world.pending(), Vec::<Value>::new(), "seed {seed}");
        assert_eq!(world.list(), Vec::<Value>::new(), "seed {seed}");
        for (key, said) in world.said.clone() {
            let Some(status) = world.status(&key) else {
                continue;
            };
            let by_cloud = ["CANCELED", "TIMED_OUT", "REMOVED"].contains(&status.as_str());
            assert!(
                by_cloud || status == said,
                "seed {seed}: {key:?} {said} {status}"
            );
            checked += usize::from(!by_cloud);
        }
    }
    println!("{schedules} schedules from seed {first}, {checked} results as they were said");
    assert!(checked as u64 > schedules, "{checked}");
}
