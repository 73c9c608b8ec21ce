//! Every rejection that AWS publishes, once, ten times and for ever: the device gets its
//! identity at once or at the latest by the timer, within the quotas. The test takes the
//! place of systemd: it restarts the program as the units say.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

use std::fs;
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use edge_sim::endpoint::{Behaviour, Event, published};
use edge_sim::testbed::{DeviceRoot, StrictEndpoint};
use serde_json::{Value, json};

const SCHEDULE: &str = "run/edge-ai/provision/rejections.json";
/// Runs in which a passing fault must be overcome: ten rejections, one a run.
const MAX_RUNS: usize = 14;

/// Exit codes after which the unit does not restart, from the unit itself.
fn restart_prevented() -> Vec<i32> {
    let unit = Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd/edge-bootstrap.service");
    let text = fs::read_to_string(unit).unwrap();
    let line = text
        .lines()
        .find_map(|l| l.strip_prefix("RestartPreventExitStatus="));
    line.unwrap()
        .split(' ')
        .map(|c| c.parse().unwrap())
        .collect()
}

/// Device under a service manager.
struct Unit<'a> {
    name: String,
    cloud: &'a StrictEndpoint,
    device: DeviceRoot,
    prevented: Vec<i32>,
    /// Waits of the timer, in minutes.
    waits: Vec<u64>,
    output: String,
}

impl<'a> Unit<'a> {
    fn new(name: String, cloud: &'a StrictEndpoint) -> Self {
        Self {
            name,
            cloud,
            device: DeviceRoot::strict(cloud, "q1"),
            prevented: restart_prevented(),
            waits: Vec::new(),
            output: String::new(),
        }
    }

    fn requests(&self) -> usize {
        self.cloud.endpoint.events().len()
    }

    /// Runs the unit once, with a budget that ends before the first pause; returns
    /// whether it succeeded.
    fn run(&mut self) -> bool {
        let (code, output) = self.device.provision(&["--scheduled", "--budget", "1"]);
        self.output += &output;
        if code != 0 && self.prevented.contains(&code) {
            self.wait_for_timer(code);
        }
        code == 0
    }

    /// Checks that a run before the next attempt is due requests nothing, then makes it
    /// due.
    fn wait_for_timer(&mut self, code: i32) {
        let before = self.requests();
        let (early, output) = self.device.provision(&["--scheduled"]);
        assert_eq!(early, code, "{}: {output}", self.name);
        assert!(
            output.contains("next attempt in"),
            "{}: {output}",
            self.name
        );
        assert_eq!(self.requests(), before, "{}: too early", self.name);
        let path = self.device.path(SCHEDULE);
        let mut schedule: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let minutes = output
            .split("in ")
            .last()
            .unwrap()
            .split(' ')
            .next()
            .unwrap();
        self.waits.push(minutes.parse().unwrap());
        schedule["next"] = json!(0);
        fs::write(&path, schedule.to_string()).unwrap();
    }

    fn check(&self, runs: usize) {
        let expected: Vec<u64> = [5, 15]
            .into_iter()
            .chain(std::iter::repeat(60))
            .take(self.waits.len())
            .collect();
        assert_eq!(self.waits, expected, "{}: {}", self.name, self.output);
        assert_eq!(
            self.device.files(),
            "config.json device.crt private.key",
            "{}",
            self.name
        );
        assert_eq!(self.cloud.endpoint.keys_seen(), 1, "{}: keys", self.name);
        assert!(
            !self.device.path(SCHEDULE).exists(),
            "{}: schedule left",
            self.name
        );
        for kind in ["connect", "create", "register", "shadow"] {
            let times: Vec<_> = events(&self.cloud.endpoint.events(), kind);
            // A run repeats a request once, and connects twice as the new identity.
            let most = if kind == "connect" { 3 } else { 2 } * (runs + 1);
            assert!(times.len() <= most, "{}: {} {kind}", self.name, times.len());
        }
    }
}

fn events(all: &[Event], kind: &str) -> Vec<Duration> {
    all.iter()
        .filter(|e| e.kind == kind)
        .map(|e| e.at)
        .collect()
}

/// Runs the unit until the fault is over and the device has its identity.
fn passing(fault: &str) {
    let cloud = StrictEndpoint::with(&Behaviour {
        faults: vec![fault.parse().unwrap()],
        ..Behaviour::default()
    });
    let mut unit = Unit::new(fault.into(), &cloud);
    let runs = (1..=MAX_RUNS).find(|_| unit.run());
    let runs = runs.unwrap_or_else(|| panic!("{fault}: no identity: {}", unit.output));
    unit.check(runs);
}

/// Runs the unit while the fault lasts, then without the fault.
fn lasting(fault: &str) {
    let cloud = StrictEndpoint::with(&Behaviour {
        faults: vec![fault.parse().unwrap()],
        ..Behaviour::default()
    });
    let mut unit = Unit::new(fault.into(), &cloud);
    for _ in 0..4 {
        assert!(!unit.run(), "{fault}: {}", unit.output);
    }
    cloud.endpoint.play(&[]);
    let runs = (5..=6).find(|_| unit.run());
    let runs = runs.unwrap_or_else(|| panic!("{fault}: no identity: {}", unit.output));
    unit.check(runs);
}

/// Faults as `STAGE:KIND`, one for each published rejection, return code and time-out.
fn faults() -> Vec<String> {
    let mut faults = Vec::new();
    for stage in ["create", "register"] {
        for (status, code) in published::PROVISIONING {
            faults.push(format!("{stage}:rejected={status}/{code}"));
        }
        faults.push(format!("{stage}:dropped"));
    }
    faults.extend((1..=6).map(|code| format!("connect:return={code}")));
    faults.push("connect:dropped".into());
    faults
}

/// Check, and the fault with which it is called.
type Item = (fn(&str), String);

/// Calls `check` for all items, many at a time: the runs mostly wait.
fn for_each(items: Vec<Item>) {
    let (queue, count) = (Mutex::new(items), 32);
    std::thread::scope(|scope| {
        for _ in 0..count {
            scope.spawn(|| {
                loop {
                    let next = queue.lock().unwrap().pop();
                    let Some((check, fault)) = next else { return };
                    check(&fault);
                }
            });
        }
    });
}

#[test]
fn every_published_rejection_passes_without_anybody_at_the_device() {
    let mut items: Vec<Item> = Vec::new();
    for fault in faults() {
        items.push((passing, format!("{fault}*1")));
        items.push((passing, format!("{fault}*10")));
        items.push((lasting, fault));
    }
    for_each(items);
}

/// The answer to the registration is lost, and the shadow answers with an error: the
/// certificate is recognised as registered, or registered again with its token.
#[test]
fn every_rejection_by_the_shadow_ends_with_an_identity() {
    let mut items: Vec<Item> = Vec::new();
    for status in published::SHADOW {
        for times in ["*1", "*10", ""] {
            items.push((lost_answer, format!("shadow:rejected={status}{times}")));
        }
    }
    items.push((lost_answer, "shadow:silent".into()));
    items.push((lost_answer, "shadow:dropped".into()));
    for_each(items);
}

fn lost_answer(fault: &str) {
    let faults = ["register:lost*1", fault].map(|f| f.parse().unwrap());
    let cloud = StrictEndpoint::with(&Behaviour {
        faults: faults.to_vec(),
        ..Behaviour::default()
    });
    let mut unit = Unit::new(fault.into(), &cloud);
    let runs = (1..=3).find(|_| unit.run());
    let runs = runs.unwrap_or_else(|| panic!("{fault}: no identity: {}", unit.output));
    unit.check(runs);
}

/// Time-outs take ten seconds each, so they are not among the faults above.
#[test]
fn silence_is_overcome() {
    let items = ["connect:silent*1", "create:silent*1", "register:silent*1"];
    for_each(items.map(|f| (passing as fn(&str), f.to_string())).to_vec());
}
