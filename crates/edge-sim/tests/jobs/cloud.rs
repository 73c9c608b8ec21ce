//! Engine with a clock that the test turns.

use edge_sim::cloud::jobs::{Call, Engine, Publication, Response};
use serde_json::{Value, json};

/// Start of the clock: 2026-11-25T00:00:00Z.
pub const START: u64 = 1_795_564_800;
pub const PREFIX: &str = "arn:aws:iot:eu-central-1:123456789012";

/// Engine with a clock, and what it published.
pub struct Cloud {
    pub engine: Engine,
    pub now: u64,
    pub published: Vec<Publication>,
}

impl Cloud {
    /// Creates a cloud with the things `a`, `b`, `c` and the group `all` that has them.
    pub fn new() -> Self {
        Self::with(&["a", "b", "c"])
    }

    pub fn with(things: &[&str]) -> Self {
        let mut cloud = Self {
            engine: Engine::default(),
            now: START,
            published: Vec::new(),
        };
        cloud.ok("POST", "/thing-groups/all", &json!({}));
        for thing in things {
            cloud.engine.register(thing);
            // Ten requests of a kind per second are the quota.
            cloud.now += 1;
            cloud.member("all", thing, true);
        }
        cloud
    }

    pub fn call(&mut self, method: &str, path: &str, body: &Value) -> Response {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let call = Call {
            method: method.into(),
            path: path.into(),
            query: pairs.map(|(k, v)| (k.into(), v.into())).collect(),
            body: match body {
                Value::Null => Vec::new(),
                body => body.to_string().into_bytes(),
            },
        };
        let (response, published) = self.engine.call(self.now, &call);
        self.published.extend(published);
        response
    }

    pub fn ok(&mut self, method: &str, path: &str, body: &Value) -> Value {
        let response = self.call(method, path, body);
        assert_eq!(response.status, 200, "{method} {path}: {}", response.body);
        response.body
    }

    /// Returns the type of the error with which a request is refused, or `ok`.
    pub fn verdict(&mut self, method: &str, path: &str, body: &Value) -> &'static str {
        self.call(method, path, body).error.unwrap_or("ok")
    }

    pub fn member(&mut self, group: &str, thing: &str, add: bool) {
        let end = if add {
            "addThingToThingGroup"
        } else {
            "removeThingFromThingGroup"
        };
        let body = json!({ "thingGroupName": group, "thingName": thing });
        self.ok("PUT", &format!("/thing-groups/{end}"), &body);
    }

    /// Creates a job for the group `all`, with further fields of CreateJob.
    pub fn create(&mut self, id: &str, more: Value) {
        let body = job(more);
        self.ok("PUT", &format!("/jobs/{id}"), &body);
    }

    /// Sends a request of a device; returns `accepted` or `rejected` and the answer.
    pub fn ask(&mut self, thing: &str, request: &str, body: &Value) -> (String, Value) {
        let topic = format!("$aws/things/{thing}/jobs/{request}");
        let payload = body.to_string();
        let effects = self.engine.receive(self.now, &topic, payload.as_bytes());
        self.published.extend(effects.notifications);
        let answer = effects.answer.unwrap();
        let end = answer.topic.strip_prefix(&format!("{topic}/")).unwrap();
        assert_eq!(answer.payload["timestamp"], self.now);
        (end.into(), answer.payload)
    }

    /// Returns `accepted`, or the code of the rejection of an update.
    pub fn set(&mut self, thing: &str, id: &str, body: &Value) -> String {
        let (end, answer) = self.ask(thing, &format!("{id}/update"), body);
        answer["code"].as_str().map_or(end, String::from)
    }

    pub fn say(&mut self, thing: &str, id: &str, status: &str) {
        assert_eq!(
            self.set(thing, id, &json!({ "status": status })),
            "accepted"
        );
    }

    /// Turns the clock by `seconds`.
    pub fn pass(&mut self, seconds: u64) {
        self.now += seconds;
        let published = self.engine.tick(self.now);
        self.published.extend(published);
    }

    /// Returns `thing/number:status` of each execution of a job.
    pub fn executions(&mut self, id: &str) -> Vec<String> {
        self.now += 1;
        let list = self.ok("GET", &format!("/jobs/{id}/things"), &Value::Null);
        let list = list["executionSummaries"].as_array().unwrap().clone();
        let name = |e: &Value| {
            let thing = e["thingArn"].as_str().unwrap().rsplit('/').next().unwrap();
            let e = &e["jobExecutionSummary"];
            let status = e["status"].as_str().unwrap();
            format!("{thing}/{}:{status}", e["executionNumber"])
        };
        list.iter().map(name).collect()
    }

    pub fn job(&mut self, id: &str) -> Value {
        self.now += 1;
        self.ok("GET", &format!("/jobs/{id}"), &Value::Null)["job"].clone()
    }

    /// Returns the last level of each topic published since the last call.
    pub fn heard(&mut self) -> Vec<String> {
        let published = std::mem::take(&mut self.published);
        let end = |p: &Publication| {
            let levels: Vec<_> = p.topic.split('/').collect();
            format!("{} {}", levels[2], levels[4])
        };
        published.iter().map(end).collect()
    }

    /// Creates executions on so many things with a rate and returns how many are there after
    /// each minute.
    pub fn minutes(&mut self, id: &str, minutes: usize) -> Vec<u64> {
        let queued = |job: Value| {
            let counts = job["jobProcessDetails"].as_object().unwrap();
            counts.values().filter_map(Value::as_u64).sum()
        };
        let count = |cloud: &mut Self| {
            let total = queued(cloud.job(id));
            cloud.pass(59);
            total
        };
        (0..minutes).map(|_| count(self)).collect()
    }
}

pub fn group(name: &str) -> String {
    format!("{PREFIX}:thinggroup/{name}")
}

pub fn job(more: Value) -> Value {
    let mut body = json!({ "targets": [group("all")], "document": r#"{"set":"x","none":null}"# });
    for (name, value) in more.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

pub fn rule(failure: &str, percent: f64, minimum: u64) -> Value {
    json!({
        "failureType": failure, "action": "CANCEL",
        "thresholdPercentage": percent, "minNumberOfExecutedThings": minimum,
    })
}

pub fn growth(base: u64, factor: f64, criteria: Value) -> Value {
    json!({
        "maximumPerMinute": 1000,
        "exponentialRate": {
            "baseRatePerMinute": base, "incrementFactor": factor, "rateIncreaseCriteria": criteria,
        },
    })
}
