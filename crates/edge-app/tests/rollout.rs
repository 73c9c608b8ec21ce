//! Rollouts against the Jobs engine of the local cloud, with simulated devices.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod project;

use std::collections::BTreeMap;
use std::fs;

use edge_signature::set::{ReleaseSet, SetApp};
use edge_signature::{Credentials, Digest, Registry};
use edge_sim::cloud::jobs::Call;
use edge_sim::endpoint::Behaviour;
use edge_sim::testbed::{Cloud, StrictEndpoint};
use project::Project;
use serde_json::{Value, json};

/// Registry with sets, and an account with devices that the test plays.
struct Fleet<'a> {
    project: Project<'a>,
    cloud: StrictEndpoint,
    things: Vec<String>,
}

impl<'a> Fleet<'a> {
    fn new(registry: &'a Cloud, devices: usize) -> Self {
        let cloud = StrictEndpoint::with(&Behaviour::default());
        let things: Vec<_> = (0..devices).map(|n| format!("edge-ai-s{n:03}")).collect();
        for thing in &things {
            let file = cloud.file("things").join(format!("{thing}.pem"));
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(file, "").unwrap();
        }
        let mut project = Project::new(registry, registry.local_registry(), &json!({}));
        let port = cloud.endpoint.control_port();
        for (name, value) in [
            ("AWS_ENDPOINT_URL_IOT", format!("http://127.0.0.1:{port}")),
            ("AWS_REGION", "eu-central-1".into()),
            ("AWS_ACCESS_KEY_ID", "test".into()),
            ("AWS_SECRET_ACCESS_KEY", "test".into()),
        ] {
            project.variables.push((name, value));
        }
        project
            .variables
            .push(("NO_PROXY", "localhost,127.0.0.1".into()));
        let mut fleet = Self {
            project,
            cloud,
            things,
        };
        fleet.ok("POST", "/thing-groups/edge-ai-barn", &json!({}));
        for thing in fleet.things.clone() {
            let body = json!({ "thingGroupName": "edge-ai-barn", "thingName": thing });
            fleet.ok("PUT", "/thing-groups/addThingToThingGroup", &body);
        }
        fleet
    }

    /// Sends a request of an operator. A second passes with each: there are quotas.
    fn ok(&mut self, method: &str, path: &str, body: &Value) -> Value {
        self.cloud.endpoint.pass(1);
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let query = query.split('&').filter_map(|pair| pair.split_once('='));
        let response = self.cloud.endpoint.call(&Call {
            method: method.into(),
            path: path.into(),
            query: query.map(|(k, v)| (k.to_string(), v.to_string())).collect(),
            body: body.to_string().into_bytes(),
        });
        assert_eq!(response.error, None, "{method} {path}: {}", response.body);
        response.body
    }

    /// Pushes a release set of the group `barn`.
    fn release(&self, number: u64, expires: u64, things: &str) -> String {
        let cloud = self.project.cloud;
        let login = Credentials {
            username: "AWS".into(),
            password: cloud.password(),
        };
        let ca = fs::read(cloud.file("ca.pem")).unwrap();
        let repository = cloud.local_registry().parse().unwrap();
        let registry = Registry::new(&repository, Some(login), &[ca]).unwrap();
        let mut set = ReleaseSet::new("barn", number, expires, &[things]);
        set.apps.push(SetApp {
            digest: Digest::of(b"image"),
            name: "hello".into(),
            run: Digest::of(b"run"),
            serial: 7,
            timeout: None,
            version: "v2".into(),
        });
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let digest = runtime.unwrap().block_on(registry.push_set(&set)).unwrap();
        format!("{repository}@{digest}")
    }

    fn topic(thing: &str, rest: &str) -> String {
        format!("$aws/things/{thing}/jobs/{rest}")
    }

    /// Lets each device that has a job of the group report it; returns how many had one.
    fn play(&mut self, report: impl Fn(&str) -> &'static str) -> usize {
        let mut count = 0;
        for thing in &self.things {
            let answer = self
                .cloud
                .endpoint
                .receive(&Self::topic(thing, "get"), b"{}");
            let answer = answer.unwrap().payload;
            let Some(job) = answer["queuedJobs"][0]["jobId"].as_str() else {
                continue;
            };
            let details = json!({ "reason": "health", "app": "hello", "lines": "panic at 7" });
            let update = json!({ "status": report(thing), "statusDetails": details });
            let topic = Self::topic(thing, &format!("{job}/update"));
            let answer = self
                .cloud
                .endpoint
                .receive(&topic, update.to_string().as_bytes());
            assert!(answer.unwrap().topic.ends_with("/accepted"));
            count += 1;
            if count % 50 == 0 {
                self.cloud.endpoint.pass(1);
            }
        }
        self.cloud.endpoint.pass(1);
        count
    }

    fn counts(&mut self, job: &str) -> (String, BTreeMap<String, u64>) {
        let job = self.ok("GET", &format!("/jobs/{job}"), &json!({}))["job"].clone();
        let counts =
            serde_json::from_value::<BTreeMap<String, Value>>(job["jobProcessDetails"].clone());
        let counts = counts.unwrap().into_iter();
        let counts = counts.filter_map(|(name, count)| Some((name, count.as_u64()?)));
        (job["status"].as_str().unwrap().into(), counts.collect())
    }
}

const LATER: u64 = 4_000_000_000;

fn rollout<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    [&["rollout"], arguments].concat()
}

fn fails(fleet: &Fleet<'_>, line: &[&str], code: i32, text: &str) {
    fleet.project.fails(&rollout(line), code, text);
}

#[test]
fn mistakes_change_nothing() {
    let registry = Cloud::up();
    let fleet = Fleet::new(&registry, 1);
    fleet.release(5, LATER, "edge-ai-*");
    fails(&fleet, &["status", "barn"], 1, "no rollout of barn");
    fails(&fleet, &["start", "other"], 4, "no release set of other");
    fails(
        &fleet,
        &["start", "barn", "--set", "9"],
        4,
        "no release set 9",
    );
    fails(&fleet, &["start", "barn"], 2, "--yes");
    fails(
        &fleet,
        &["start", "barn", "--soak", "1d"],
        2,
        "1d is no time",
    );
    fails(&fleet, &["start", "b/n", "--yes"], 2, "no name of a group");
}

#[test]
fn canaries_come_first_and_the_group_follows() {
    let registry = Cloud::up();
    let mut fleet = Fleet::new(&registry, 5);
    let reference = fleet.release(5, LATER, "edge-ai-*");
    fleet.release(4, LATER, "edge-ai-*");

    let start = [
        "start", "barn", "--canary", "2", "--soak", "0s", "--yes", "--json",
    ];
    let (code, out, err) = fleet.project.run(&rollout(&start));
    assert_eq!(code, 0, "{err}");
    // What changes is shown before: the app, and each device.
    for shown in ["hello", "v2", "edge-ai-s000  canary", "edge-ai-s004  all"] {
        assert!(err.contains(shown), "{err}");
    }
    let state: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(
        (&state["number"], &state["set"]),
        (&json!(5), &json!(reference))
    );
    assert_eq!(state["stages"][0]["counts"]["queued"], 2);
    let document = fleet.ok("GET", "/jobs/edge-barn-5-canary/job-document", &json!({}));
    let document: Value = serde_json::from_str(document["document"].as_str().unwrap()).unwrap();
    let wanted = json!({ "edge": 1, "set": reference, "name": "barn", "number": 5 });
    assert_eq!(document, wanted);
    fails(&fleet, &["start", "barn", "--yes"], 2, "exists");
    fails(
        &fleet,
        &["start", "barn", "--set", "4", "--yes"],
        2,
        "newer set 5",
    );
    fails(
        &fleet,
        &["continue", "barn", "--yes"],
        1,
        "not all committed",
    );

    assert_eq!(fleet.play(|_| "SUCCEEDED"), 2);
    fleet
        .project
        .succeeds(&rollout(&["continue", "barn", "--yes"]));
    assert_eq!(fleet.play(|_| "SUCCEEDED"), 5);
    let status = fleet
        .project
        .succeeds(&rollout(&["status", "barn", "--watch"]));
    assert!(
        status.contains("canary") && status.contains("COMPLETED"),
        "{status}"
    );
    fails(&fleet, &["continue", "barn", "--yes"], 1, "last stage");
    fails(&fleet, &["resume", "barn"], 1, "not paused");
    fails(&fleet, &["retry", "barn", "--yes"], 1, "no device failed");
}

#[test]
fn a_bad_canary_ends_the_rollout_with_its_reason() {
    let registry = Cloud::up();
    let mut fleet = Fleet::new(&registry, 3);
    let start = rollout(&["start", "barn", "--soak", "0s", "--yes"]);
    fleet.release(6, 1_700_000_000, "edge-ai-*");
    fleet.project.fails(&start, 4, "expired");
    fleet.release(7, LATER, "edge-ai-*");
    fleet.project.succeeds(&start);
    assert_eq!(fleet.play(|_| "FAILED"), 1);
    let (code, out, err) = fleet.project.run(&rollout(&["status", "barn"]));
    assert_eq!(code, 10, "{err}");
    for shown in ["edge-ai-s000", "FAILED", "health", "hello panic at 7"] {
        assert!(out.contains(shown), "{out}");
    }
    fleet.project.fails(
        &rollout(&["continue", "barn", "--yes"]),
        1,
        "did not take the set",
    );
    fleet
        .project
        .succeeds(&rollout(&["retry", "barn", "--yes"]));
    assert_eq!(fleet.play(|_| "SUCCEEDED"), 1);
    fleet
        .project
        .succeeds(&rollout(&["continue", "barn", "--yes"]));
    // A newer set cancels what is left of the older one.
    fleet.release(8, LATER, "edge-ai-*");
    fleet.project.succeeds(&start);
    fleet
        .project
        .succeeds(&rollout(&["abort", "barn", "--yes"]));
    assert_eq!(fleet.play(|_| "SUCCEEDED"), 0);
    let history = fleet.project.succeeds(&rollout(&["history", "barn"]));
    for shown in ["ABORTED", "all", "8", "7"] {
        assert!(history.contains(shown), "{history}");
    }
}

#[test]
fn a_pause_ends_with_a_job_for_those_that_are_left() {
    let registry = Cloud::up();
    let mut fleet = Fleet::new(&registry, 30);
    fleet.release(5, LATER, "edge-ai-*");
    let start = ["start", "barn", "--canary", "0", "--rate", "10", "--yes"];
    fleet.project.succeeds(&rollout(&start));
    assert_eq!(fleet.play(|_| "SUCCEEDED"), 10);
    let paused = fleet.project.succeeds(&rollout(&["pause", "barn"]));
    assert!(paused.contains("PAUSED"), "{paused}");
    fleet.cloud.endpoint.pass(120);
    assert_eq!(fleet.play(|_| "SUCCEEDED"), 0);
    fleet.project.succeeds(&rollout(&["resume", "barn"]));
    let mut all = 0;
    for _ in 0..4 {
        all += fleet.play(|_| "SUCCEEDED");
        fleet.cloud.endpoint.pass(60);
    }
    assert_eq!(all, 30, "devices that have the set answer at once");
    assert_eq!(fleet.counts("edge-barn-5-all2").0, "COMPLETED");
}

#[test]
fn a_bad_set_stops_on_200_devices_by_itself() {
    let registry = Cloud::up();
    let mut fleet = Fleet::new(&registry, 200);
    fleet.release(5, LATER, "edge-ai-*");
    let start = [
        "start",
        "barn",
        "--canary",
        "0",
        "--rate",
        "10",
        "--abort-at",
        "10",
        "--yes",
    ];
    fleet.project.succeeds(&rollout(&start));
    let mut failed = 0;
    for _ in 0..30 {
        failed += fleet.play(|_| "FAILED");
        fleet.cloud.endpoint.pass(60);
    }
    let (status, counts) = fleet.counts("edge-barn-5-all");
    assert_eq!(status, "CANCELED");
    // Ten of a hundred, and those of the batch that was under way.
    assert!((20..=30).contains(&failed), "{failed} failed: {counts:?}");
    let (code, out, _) = fleet.project.run(&rollout(&["status", "barn", "--json"]));
    assert_eq!(code, 10);
    let state: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(state["stages"][0]["reason"], "ABORT_CANCEL");
    assert_eq!(
        state["stages"][0]["failed"].as_array().unwrap().len(),
        failed
    );
}

#[test]
fn the_index_shows_what_devices_run_and_which_wait() {
    let registry = Cloud::up();
    let mut fleet = Fleet::new(&registry, 2);
    fleet.release(5, LATER, "edge-ai-*");
    for (thing, number, phase) in [("edge-ai-s000", 4, "standing"), ("edge-ai-s001", 3, "held")] {
        let directory = fleet.cloud.file("shadows").join(thing);
        fs::create_dir_all(&directory).unwrap();
        let reported =
            json!({ "v": 1, "set": { "name": "barn", "number": number }, "phase": phase });
        let shadow = json!({ "state": { "reported": reported }, "version": 1 });
        fs::write(directory.join("fleet.json"), shadow.to_string()).unwrap();
    }
    let (code, out, err) = fleet
        .project
        .run(&rollout(&["start", "barn", "--soak", "0s", "--yes"]));
    assert_eq!(code, 0, "{err}");
    assert!(err.contains("edge-ai-s000  canary  4"), "{err}");
    assert!(out.contains("edge-ai-s001: held"), "{out}");
    // A canary that went back after its commit.
    assert_eq!(fleet.play(|_| "SUCCEEDED"), 1);
    fleet.project.fails(
        &rollout(&["continue", "barn", "--yes"]),
        1,
        "went to the set 4",
    );
}

#[test]
fn an_account_that_refuses_or_is_absent_is_an_error() {
    let registry = Cloud::up();
    let mut fleet = Fleet::new(&registry, 1);
    let status = rollout(&["status", "barn"]);
    let set = |fleet: &mut Fleet<'_>, name: &str, value: &str| {
        let variable = fleet
            .project
            .variables
            .iter_mut()
            .find(|(known, _)| *known == name);
        variable.unwrap().1 = value.into();
    };
    set(&mut fleet, "AWS_SECRET_ACCESS_KEY", "wrong");
    fleet.project.fails(&status, 4, "InvalidSignatureException");
    set(&mut fleet, "AWS_ENDPOINT_URL_IOT", "http://127.0.0.1:1");
    fleet.project.fails(&status, 4, "127.0.0.1:1");
}

#[test]
fn a_thing_group_becomes_the_group_of_the_project() {
    let registry = Cloud::up();
    let mut fleet = Fleet::new(&registry, 3);
    let device = |number| json!({ "thing": format!("edge-ai-s00{number}") });
    let devices = json!({ "a": device(0), "b": device(1), "foreign": device(7), "bare": {} });
    fleet.project.set("devices", devices);
    let groups = json!({
        "barn": ["a", "b"], "field": { "devices": ["b"], "apps": { "hello": "v2" } },
        "empty": [], "nameless": ["a", "bare"], "gone": ["foreign"],
    });
    fleet.project.set("groups", groups);
    let sync = |fleet: &Fleet<'_>, group: &str, code, text: &str| {
        let arguments = ["group", "sync", group, "--yes"];
        fleet.project.fails(&arguments, code, text);
    };
    sync(&fleet, "other", 3, "no group \"other\"");
    sync(&fleet, "empty", 3, "names no devices");
    sync(&fleet, "nameless", 3, "device bare has no thing");
    sync(&fleet, "gone", 4, "add edge-ai-s007");
    let ask = ["group", "sync", "barn"];
    fleet.project.fails(&ask, 2, "--yes");
    let members = |fleet: &mut Fleet<'_>, group: &str| {
        fleet.ok("GET", &format!("/thing-groups/{group}/things"), &json!({}))["things"].clone()
    };
    let all = json!(["edge-ai-s000", "edge-ai-s001", "edge-ai-s002"]);
    assert_eq!(members(&mut fleet, "edge-ai-barn"), all);

    let shown = fleet.project.succeeds(&[&ask[..], &["--yes"]].concat());
    assert_eq!(shown, "- edge-ai-s002\n");
    let two = json!(["edge-ai-s000", "edge-ai-s001"]);
    assert_eq!(members(&mut fleet, "edge-ai-barn"), two);
    let again = fleet.project.succeeds(&ask);
    assert_eq!(again, "edge-ai-barn is as in edge-app.yaml\n");

    let json = ["group", "sync", "field", "--yes", "--json"];
    let shown: Value = serde_json::from_str(&fleet.project.succeeds(&json)).unwrap();
    let wanted = json!({ "thing_group": "edge-ai-field", "join": ["edge-ai-s001"], "leave": [] });
    assert_eq!(shown, wanted);
    let one = json!(["edge-ai-s001"]);
    assert_eq!(members(&mut fleet, "edge-ai-field"), one);
}
