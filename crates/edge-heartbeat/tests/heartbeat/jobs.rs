//! Jobs over a real connection: pending executions are kept for edge-fleet, and its results
//! are said, whatever the cloud does.

use std::fs;

use edge_sim::cloud::jobs::{Call, Response};
use edge_sim::endpoint::Behaviour;
use edge_sim::testbed::{DeviceRoot, StrictEndpoint};
use serde_json::{Value, json};

use crate::{Heartbeat, until};

const ARN: &str = "arn:aws:iot:eu-central-1:123456789012";
const FLEET: &str = "data/config/edge-fleet";

/// Calls the control plane, which must accept.
pub fn call(cloud: &StrictEndpoint, method: &str, path: &str, body: &Value) -> Value {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let query = query.split_once('=');
    let call = Call {
        method: method.into(),
        path: path.into(),
        query: query
            .map(|(k, v)| (k.into(), v.into()))
            .into_iter()
            .collect(),
        body: body.to_string().into_bytes(),
    };
    let mut response = cloud.endpoint.call(&call);
    until("a call is within the quota", || {
        let is_throttled = |response: &Response| response.error == Some("ThrottlingException");
        if is_throttled(&response) {
            response = cloud.endpoint.call(&call);
        }
        !is_throttled(&response)
    });
    assert_eq!(response.status, 200, "{method} {path}: {}", response.body);
    response.body
}

pub fn create(cloud: &StrictEndpoint, thing: &str, id: &str, document: &str) {
    let body = json!({
        "targets": [format!("{ARN}:thing/{thing}")],
        "document": document,
        "timeoutConfig": { "inProgressTimeoutInMinutes": 60 },
    });
    call(cloud, "PUT", &format!("/jobs/{id}"), &body);
}

/// Returns the list that the device has kept.
pub fn list(device: &DeviceRoot) -> Value {
    let text = fs::read(device.path(FLEET).join("in/jobs.json")).unwrap_or_default();
    serde_json::from_slice(&text).unwrap_or_default()
}

/// Device with jobs, without edge-fleet: the test is in its place.
struct Fleet {
    cloud: StrictEndpoint,
    device: DeviceRoot,
    heartbeat: Heartbeat,
}

impl Fleet {
    fn new() -> Self {
        let cloud = StrictEndpoint::with(&Behaviour::default());
        let device = DeviceRoot::strict(&cloud, "s1");
        device.provisioned(&[]);
        fs::create_dir_all(device.path(FLEET).join("in")).unwrap();
        let heartbeat = Heartbeat::start(&device, 60_000);
        Self {
            cloud,
            device,
            heartbeat,
        }
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        call(&self.cloud, method, path, body)
    }

    fn create(&self, id: &str) {
        create(
            &self.cloud,
            "edge-ai-s1",
            id,
            &json!({ "edge": 1, "set": id }).to_string(),
        );
    }

    fn play(&self, fault: &str) {
        self.cloud.endpoint.play(&[fault.parse().unwrap()]);
    }

    /// Returns the execution of a job, as the control plane shows it.
    fn execution(&self, id: &str) -> Value {
        let path = format!("/things/edge-ai-s1/jobs/{id}");
        self.call("GET", &path, &json!({}))["execution"].clone()
    }

    fn jobs(&self) -> Vec<Value> {
        list(&self.device)["jobs"]
            .as_array()
            .cloned()
            .unwrap_or_default()
    }

    fn ids(&self) -> Vec<String> {
        let ids = self.jobs().into_iter();
        ids.map(|job| job["id"].as_str().unwrap().into()).collect()
    }

    fn until(&mut self, condition: &str, mut holds: impl FnMut(&Self) -> bool) {
        until(condition, || {
            self.heartbeat.watch();
            holds(self)
        });
    }

    fn until_listed(&mut self, ids: &[&str]) {
        self.until(&format!("the list is {ids:?}"), |fleet| fleet.ids() == ids);
    }

    /// Leaves the results of these executions, as edge-fleet does.
    fn results(&self, results: &[(&Value, &str, Value)]) {
        let result = |(job, status, details): &(&Value, &str, Value)| {
            json!({ "id": job["id"], "number": job["number"], "queued": job["queued"],
                "status": status, "details": details })
        };
        let results: Vec<_> = results.iter().map(result).collect();
        let text = json!({ "v": 1, "results": results }).to_string();
        let path = self.device.path(FLEET).join("results.json");
        fs::write(path.with_extension("new"), text).unwrap();
        fs::rename(path.with_extension("new"), path).unwrap();
    }

    /// Waits for a job and lets it succeed.
    fn carry_out(&mut self, id: &str) {
        self.until_listed(&[id]);
        let job = self.jobs()[0].clone();
        self.results(&[(&job, "SUCCEEDED", json!({ "phase": "commit" }))]);
        self.until("the result is said", |fleet| {
            fleet.execution(id)["status"] == "SUCCEEDED"
        });
        self.until_listed(&[]);
    }
}

#[test]
fn pending_jobs_are_kept_as_they_are_and_results_are_said() {
    let cloud = StrictEndpoint::with(&Behaviour::default());
    let device = DeviceRoot::strict(&cloud, "s1");
    device.provisioned(&[]);
    fs::create_dir_all(device.path(FLEET).join("in")).unwrap();
    // Created while the device is away: AWS says nothing when it connects.
    create(
        &cloud,
        "edge-ai-s1",
        "foreign-job",
        r#"{"operation":"reboot"}"#,
    );
    let heartbeat = Heartbeat::start(&device, 60_000);
    let mut fleet = Fleet {
        cloud,
        device,
        heartbeat,
    };
    fleet.until_listed(&["foreign-job"]);
    // The first of the queue, which nobody carries out, hides nothing.
    let document = r#"{"edge":1,"name":"bärn","number":1795638227,"set":"r@sha256:00"}"#;
    create(
        &fleet.cloud,
        "edge-ai-s1",
        "edge-barn-1795638227-canary",
        document,
    );
    fleet.until("both are listed", |fleet| fleet.jobs().len() == 2);
    let whole = list(&fleet.device);
    assert_eq!((&whole["v"], &whole["complete"]), (&json!(1), &json!(true)));
    assert!(whole["time"].as_u64().unwrap() > 1_700_000_000);
    let id = "edge-barn-1795638227-canary";
    let find = |job: &Value| job["id"] == id;
    let job = fleet.jobs().into_iter().find(find).unwrap();
    assert_eq!(job["document"], document);
    assert_eq!(
        (&job["status"], &job["version"], &job["number"]),
        (&json!("QUEUED"), &json!(1), &json!(1))
    );
    for details in [
        json!({ "phase": "fetching" }),
        json!({ "phase": "fetching", "bytes": "700" }),
    ] {
        fleet.results(&[(&job, "IN_PROGRESS", details.clone())]);
        fleet.until("the progress is said", |fleet| {
            let execution = fleet.execution(id);
            execution["status"] == "IN_PROGRESS"
                && execution["statusDetails"]["detailsMap"] == details
        });
    }
    fleet.until("the file follows", |fleet| {
        fleet.jobs()[0]["version"].as_u64() >= Some(3)
    });
    assert_eq!(fleet.ids()[0], id, "executions in progress come first");
}

#[test]
fn results_of_others_and_details_that_aws_refuses_change_nothing() {
    let mut fleet = Fleet::new();
    let id = "edge-barn-1";
    fleet.create("foreign-job");
    fleet.until_listed(&["foreign-job"]);
    fleet.create(id);
    fleet.until("both are listed", |fleet| fleet.jobs().len() == 2);
    let job = fleet
        .jobs()
        .into_iter()
        .find(|job| job["id"] == id)
        .unwrap();
    // A result of another execution, and one that AWS does not take, change nothing.
    let mut other = job.clone();
    other["queued"] = json!(job["queued"].as_u64().unwrap() - 1);
    let details = json!({ "reason": "health", "lines": "a | b", "two lines": "a\nb" });
    fleet.results(&[(&other, "SUCCEEDED", json!({})), (&job, "FAILED", details)]);
    fleet.until_listed(&["foreign-job"]);
    let execution = fleet.execution(id);
    assert_eq!(execution["status"], "FAILED");
    assert_eq!(
        execution["statusDetails"]["detailsMap"],
        json!({ "reason": "health", "lines": "a | b" })
    );
    assert_eq!(fleet.execution("foreign-job")["status"], "QUEUED");
    let mode = fs::metadata(fleet.device.path(FLEET).join("in/jobs.json")).unwrap();
    assert_eq!(
        std::os::unix::fs::PermissionsExt::mode(&mode.permissions()) & 0o777,
        0o600
    );
}

#[test]
fn every_fault_of_the_cloud_is_outlived() {
    let mut fleet = Fleet::new();
    let common = [
        "silent*1",
        "late=300*1",
        "dropped*1",
        "lost*1",
        "throttled*2",
        "broken*1",
        "malformed*1",
        "oversized*1",
        "incomplete*1",
        "cut*1",
        "twice*1",
        "hostile*1",
        "code=InvalidRequest*1",
        "code=InvalidTopic*1",
    ];
    let mut faults: Vec<String> = Vec::new();
    for stage in ["jobs-list", "jobs-describe", "jobs-update"] {
        faults.extend(common.iter().map(|kind| format!("{stage}:{kind}")));
    }
    let special = [
        "jobs-list:stale*1",
        "jobs-describe:gone*2",
        "jobs-update:gone*1",
        "jobs-describe:code=TerminalStateReached*1",
        "jobs-update:code=VersionMismatch*2",
        "jobs-update:code=InvalidStateTransition*1",
        "jobs-update:code=TerminalStateReached*1",
    ];
    faults.extend(special.map(String::from));
    for kind in [
        "silent",
        "twice",
        "malformed",
        "oversized",
        "incomplete",
        "hostile",
    ] {
        faults.push(format!("jobs-notify:{kind}*2"));
    }
    for (number, fault) in faults.iter().enumerate() {
        println!("{fault}");
        fleet.play(fault);
        let id = format!("edge-barn-{number}");
        fleet.create(&id);
        fleet.carry_out(&id);
    }
}

#[test]
fn jobs_that_the_cloud_ends_are_dropped_and_their_results_are_not_said() {
    let mut fleet = Fleet::new();
    let ends = [
        ("PUT", "/jobs/ID/cancel", true),
        ("PUT", "/jobs/ID/cancel?force=true", true),
        ("PUT", "/things/edge-ai-s1/jobs/ID/cancel?force=true", true),
        ("DELETE", "/jobs/ID?force=true", false),
    ];
    for (number, (method, path, is_kept)) in ends.into_iter().enumerate() {
        let id = format!("edge-barn-{number}");
        fleet.create(&id);
        fleet.until_listed(&[&id]);
        let job = fleet.jobs()[0].clone();
        fleet.call(method, &path.replace("ID", &id), &json!({}));
        fleet.until_listed(&[]);
        // Too late: the cloud keeps what it has.
        fleet.results(&[(&job, "SUCCEEDED", json!({}))]);
        fleet.create(&format!("{id}-next"));
        fleet.carry_out(&format!("{id}-next"));
        if is_kept {
            assert_eq!(fleet.execution(&id)["status"], "CANCELED", "{path}");
        }
    }
    // One in progress that is canceled may be finished; one that timed out may not.
    fleet.create("edge-barn-9");
    fleet.until_listed(&["edge-barn-9"]);
    let job = fleet.jobs()[0].clone();
    fleet.results(&[(&job, "IN_PROGRESS", json!({}))]);
    fleet.until("it is in progress", |fleet| {
        fleet.execution("edge-barn-9")["status"] == "IN_PROGRESS"
    });
    fleet.cloud.endpoint.pass(3600);
    fleet.until_listed(&[]);
    fleet.results(&[(&job, "SUCCEEDED", json!({}))]);
    fleet.create("edge-barn-10");
    fleet.carry_out("edge-barn-10");
    assert_eq!(fleet.execution("edge-barn-9")["status"], "TIMED_OUT");
}

#[test]
fn an_id_that_is_used_again_is_another_execution() {
    let mut fleet = Fleet::new();
    fleet.create("edge-barn-1");
    fleet.until_listed(&["edge-barn-1"]);
    let first = fleet.jobs()[0].clone();
    fleet.results(&[(&first, "FAILED", json!({ "reason": "health" }))]);
    fleet.until_listed(&[]);
    fleet.call("DELETE", "/jobs/edge-barn-1?force=true", &json!({}));
    fleet.cloud.endpoint.pass(5);
    fleet.create("edge-barn-1");
    fleet.until_listed(&["edge-barn-1"]);
    let second = fleet.jobs()[0].clone();
    assert_eq!(first["number"], second["number"]);
    assert!(second["queued"].as_u64() > first["queued"].as_u64());
    // The result of the first one stands in the file, and is not said of the second one.
    fleet
        .heartbeat
        .watch_for(std::time::Duration::from_millis(300));
    assert_eq!(fleet.execution("edge-barn-1")["status"], "QUEUED");
    fleet.results(&[
        (&first, "FAILED", json!({})),
        (&second, "SUCCEEDED", json!({})),
    ]);
    fleet.until_listed(&[]);
    assert_eq!(fleet.execution("edge-barn-1")["status"], "SUCCEEDED");
}

#[test]
fn a_retry_is_another_execution_and_needs_a_result_of_its_own() {
    let mut fleet = Fleet::new();
    let body = json!({
        "targets": [format!("{ARN}:thing/edge-ai-s1")],
        "document": "{}",
        "jobExecutionsRetryConfig": { "criteriaList": [{ "failureType": "FAILED", "numberOfRetries": 1 }] },
    });
    fleet.call("PUT", "/jobs/edge-barn-1", &body);
    fleet.until_listed(&["edge-barn-1"]);
    let first = fleet.jobs()[0].clone();
    fleet.results(&[(&first, "FAILED", json!({}))]);
    fleet.until("the second try is listed", |fleet| {
        fleet.jobs().first().is_some_and(|job| job["number"] == 2)
    });
    let second = fleet.jobs()[0].clone();
    fleet.results(&[
        (&first, "FAILED", json!({})),
        (&second, "SUCCEEDED", json!({})),
    ]);
    fleet.until_listed(&[]);
    assert_eq!(fleet.execution("edge-barn-1")["status"], "SUCCEEDED");
}

#[test]
fn ten_of_more_jobs_are_kept_and_none_is_forgotten() {
    let mut fleet = Fleet::new();
    let ids: Vec<_> = (0..13).map(|n| format!("edge-barn-{n:02}")).collect();
    for id in &ids {
        fleet.create(id);
        fleet.cloud.endpoint.pass(1);
    }
    fleet.until("ten are listed", |fleet| {
        fleet.ids() == ids[..10] && list(&fleet.device)["complete"] == false
    });
    let mut results: Vec<(Value, &str)> = Vec::new();
    let mut done = Vec::new();
    while done.len() < ids.len() {
        fleet.until("another one is listed", |fleet| {
            fleet.ids().iter().any(|id| !done.contains(id))
        });
        for job in fleet.jobs() {
            let id = job["id"].as_str().unwrap().to_string();
            if !done.contains(&id) {
                done.push(id);
                results.push((job, "REJECTED"));
            }
        }
        let all: Vec<_> = results
            .iter()
            .map(|(job, status)| (job, *status, json!({})))
            .collect();
        fleet.results(&all);
    }
    fleet.until_listed(&[]);
    fleet.until("the list is complete", |fleet| {
        list(&fleet.device)["complete"] == true
    });
    for id in &ids {
        assert_eq!(fleet.execution(id)["status"], "REJECTED", "{id}");
    }
}

#[test]
fn documents_and_results_may_be_hostile() {
    let mut fleet = Fleet::new();
    let deep = format!("{}1{}", r#"{"a":"#.repeat(100), "}".repeat(100));
    let long = json!({ "a": "é".repeat(30_000) }).to_string();
    for (number, document) in [deep, long].iter().enumerate() {
        let id = format!("edge-barn-{number}");
        create(&fleet.cloud, "edge-ai-s1", &id, document);
        fleet.until_listed(&[&id]);
        // Empty, so that edge-fleet rejects it: left out, it would block nobody's queue but
        // would stay there for ever.
        let job = fleet.jobs()[0].clone();
        assert_eq!(job["document"], "", "{number}");
        let path = fleet.device.path(FLEET).join("results.json");
        for bad in ["", "{", "[]", "{\"results\":7}", &"x".repeat(600_000)] {
            fs::write(&path, bad).unwrap();
            fleet
                .heartbeat
                .watch_for(std::time::Duration::from_millis(100));
        }
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        fleet
            .heartbeat
            .watch_for(std::time::Duration::from_millis(100));
        fs::remove_dir(&path).unwrap();
        fleet.results(&[(&job, "REJECTED", json!({ "reason": "document" }))]);
        fleet.until_listed(&[]);
        assert_eq!(fleet.execution(&id)["status"], "REJECTED");
    }
}

#[test]
fn a_device_that_was_away_asks_and_says_what_it_owes() {
    let mut fleet = Fleet::new();
    fleet.create("edge-barn-1");
    fleet.until_listed(&["edge-barn-1"]);
    let job = fleet.jobs()[0].clone();
    fleet.heartbeat.end();
    fleet.results(&[(&job, "SUCCEEDED", json!({}))]);
    fleet.create("edge-barn-2");
    // The list as of the last connection stays until the cloud has stated another.
    assert_eq!(fleet.ids(), ["edge-barn-1"]);
    fleet.heartbeat = Heartbeat::start(&fleet.device, 60_000);
    fleet.until_listed(&["edge-barn-2"]);
    assert_eq!(fleet.execution("edge-barn-1")["status"], "SUCCEEDED");
}
