//! A disk that is edited while the device is off: after the next boot every app runs exactly
//! as it was signed, or it does not run and that is reported. Nothing of an edit runs.
//!
//! `EDGE_EDITS` is `FIRST+COUNT`, the range of the generated edits: they are the same in
//! every run. `cargo xtask campaign stored-edits` makes 5,000.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod apps;
#[path = "../device/mod.rs"]
mod device;
mod edits;
mod json;
#[path = "../../../edge-docker-policy/tests/decision/edits.rs"]
mod pointers;
mod scripts;
mod verdict;

use std::collections::BTreeMap;
use std::time::Instant;

use apps::App;
use device::{Device, output_text};
use edits::Edit;
use serde_json::Value;
use verdict::{Boot, Outcome};

const POLICY: &str = "/etc/edge-ai/container-config/policy.json";
const AFTER_START: &[u8] = br#"{"sandbox":false,"run":"signed","engineer":"operate"}"#;
const BEFORE_START: &[u8] =
    br#"{"sandbox":false,"run":"signed","engineer":"operate","layers":"before-start"}"#;
/// Highest number of apps that are edited before a boot. A start of the engine costs more
/// than that of an app.
const MAX_EDITED: usize = 24;
/// Program that says what runs.
const OBSERVE: &str = include_str!("observe.py");
/// Copies what is put back before each boot.
const COPY: &str = "mkdir /copy && cd /data && cp -a docker config apps log /copy";
/// Puts the disk back as it was before the edits.
const RESTORE: &str = "cd /data && find . -mindepth 1 -maxdepth 1 ! -name key.pem ! -name engine.log \
    -exec rm -rf {} + && cp -a /copy/. /data";

/// Device with running apps, and a copy of its disk.
pub struct Testbed {
    device: Device,
    /// Apps, the last of which is never edited.
    apps: Vec<App>,
    /// Observation of each app before the edits.
    honest: BTreeMap<String, Value>,
}

impl Testbed {
    /// Starts a device on which `edited` apps can be edited.
    fn start(edited: usize) -> Self {
        let mut device = Device::start();
        device.start_engine();
        let images: Vec<_> = (0..=edited)
            .map(|at| device.image(&name(at), 1000 + 8 * at))
            .collect();
        device.write(POLICY, AFTER_START);
        let apps = images.into_iter().zip(0..);
        let apps: Vec<_> = apps
            .map(|(image, at)| App::run(&device, image, &name(at), at))
            .collect();
        // As a power loss leaves it: containers count as running.
        device.restart_after_power_loss();
        device.good(&["sh", "-c", COPY]);
        let mut testbed = Self {
            device,
            apps,
            honest: BTreeMap::new(),
        };
        let boot = testbed.boot(AFTER_START, &[]);
        let count = testbed.apps.len();
        testbed.honest = device::until("all apps", || {
            let observed = testbed.observe();
            (observed.len() == count && verdict::has_settled(&observed)).then_some(observed)
        });
        assert!(boot.is_silent(), "{}", boot.messages);
        testbed
    }

    /// Cuts the power, puts the disk back, edits it, and boots.
    fn boot(&mut self, policy: &[u8], edits: &[Edit]) -> Boot {
        self.device.restart_after_power_loss();
        self.device.good(&["sh", "-c", RESTORE]);
        self.device.write(POLICY, policy);
        for edit in edits {
            edit.apply(&self.device);
        }
        self.device.start_plugin();
        let run = |args: &[&str]| {
            let output = self.device.run(args);
            (output.status.success(), output_text(&output))
        };
        let (mut is_started, mut messages) = run(&["edge-docker", "audit-stored"]);
        if is_started && !self.device.try_start_engine() {
            is_started = false;
            messages += "the engine does not start";
            println!("{messages}: {}", edits[0].what);
        }
        if is_started {
            for command in [&["replace", "--recover"][..], &["check-layers"]] {
                let args = [&["edge-docker"], command].concat();
                messages += &run_on(&self.device, &args);
            }
        }
        Boot::read(&self.device, is_started, messages)
    }

    /// Returns what runs, by the name of the container.
    fn observe(&self) -> BTreeMap<String, Value> {
        let text = self.device.good(&["python3", "-c", OBSERVE]);
        serde_json::from_str(&text).unwrap()
    }
}

fn name(at: usize) -> String {
    format!("app{at:02}")
}

fn run_on(device: &Device, args: &[&str]) -> String {
    output_text(&device.run(args)) + "\n"
}

#[test]
fn nothing_of_an_edit_of_the_disk_runs() {
    let range = std::env::var("EDGE_EDITS").unwrap_or_else(|_| "0+8".into());
    let (first, count) = range.split_once('+').unwrap();
    let (first, count): (u64, u64) = (first.parse().unwrap(), count.parse().unwrap());
    let edited = usize::try_from(count).unwrap().min(MAX_EDITED);
    let mut testbed = Testbed::start(edited.max(edits::KNOWN.len()));
    let mut campaign = Campaign::default();
    let known = edits::known(&testbed.apps);
    campaign.boot(&mut testbed, &known, false);
    let mut next = first;
    while next < first + count {
        let edits = edits::round(next, first + count, edited, &testbed.device, &testbed.apps);
        next += edits.len() as u64;
        campaign.boot(&mut testbed, &edits, next % 2 == 0);
        let seconds = campaign.start.elapsed().as_secs();
        println!("{next} edits after {seconds} s: {:?}", campaign.tally);
    }
    let failures = campaign.failures;
    assert!(
        failures.is_empty(),
        "{} edits: {}",
        failures.len(),
        failures.join("\n")
    );
}

/// Boots after edits so far.
struct Campaign {
    start: Instant,
    tally: BTreeMap<Outcome, u32>,
    failures: Vec<String>,
}

impl Default for Campaign {
    fn default() -> Self {
        Self {
            start: Instant::now(),
            tally: BTreeMap::new(),
            failures: Vec::new(),
        }
    }
}

impl Campaign {
    /// Boots once after edits, and counts what became of them.
    fn boot(&mut self, testbed: &mut Testbed, edits: &[Edit], is_before: bool) {
        let policy = if is_before { BEFORE_START } else { AFTER_START };
        let boot = testbed.boot(policy, edits);
        for (outcome, why) in verdict::of(testbed, &boot, edits, is_before) {
            *self.tally.entry(outcome).or_default() += 1;
            if let Some(why) = why {
                println!("{why}");
                self.failures.push(why);
            }
        }
    }
}
