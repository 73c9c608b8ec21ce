//! Account at AWS: the Jobs engine with one thing, and the documents that were created.

use edge_fleet::converge::Execution;
use edge_sim::cloud::jobs::{Call, Engine};
use serde_json::{Value, json};

use super::sets::Set;

pub const THING: &str = "edge-ai-1";
/// Start of the clock: 2026-11-25T00:00:00Z, a Wednesday.
pub const START: u64 = 1_795_564_800;

/// Pending execution, as a device reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    pub execution: Execution,
    pub status: String,
    pub version: u64,
    pub document: String,
}

pub struct Cloud {
    pub engine: Engine,
    pub now: u64,
    created: usize,
}

impl Cloud {
    pub fn new() -> Self {
        let mut engine = Engine::default();
        engine.register(THING);
        Self {
            engine,
            now: START,
            created: 0,
        }
    }

    fn call(&mut self, method: &str, path: &str, query: &[(&str, &str)], body: &Value) -> Value {
        // Ten requests of a kind per second are the quota.
        self.now += 1;
        let call = Call {
            method: method.into(),
            path: path.into(),
            query: query
                .iter()
                .map(|(k, v)| (k.to_string(), v.to_string()))
                .collect(),
            body: match body {
                Value::Null => Vec::new(),
                body => body.to_string().into_bytes(),
            },
        };
        let (response, _) = self.engine.call(self.now, &call);
        response.body
    }

    /// Creates a job. Some IDs were used before: AWS accepts that of a deleted job.
    pub fn create(&mut self, document: &Value, dice: usize) {
        self.created += 1;
        let reused = dice % 4 == 0 && self.created > 1;
        let number = if reused {
            self.created - 1
        } else {
            self.created
        };
        let mut body = json!({
            "targets": [format!("arn:aws:iot:eu-central-1:123456789012:thing/{THING}")],
            "document": document.to_string(),
        });
        if dice / 4 % 3 == 0 {
            let rule = json!({ "failureType": "ALL", "numberOfRetries": 2 });
            body["jobExecutionsRetryConfig"] = json!({ "criteriaList": [rule] });
        }
        if dice / 12 % 3 == 0 {
            body["timeoutConfig"] =
                json!({ "inProgressTimeoutInMinutes": 60 * (1 + dice / 36 % 40) });
        }
        let path = format!("/jobs/edge-barn-{number}-1");
        let answer = self.call("PUT", &path, &[], &body);
        if answer["jobId"].is_null() && reused {
            let path = format!("/jobs/edge-barn-{}-1", self.created);
            let answer = self.call("PUT", &path, &[], &body);
            assert!(answer["jobId"].is_string(), "{answer}");
        }
    }

    pub fn create_for(&mut self, set: &Set, dice: usize) {
        let document = document(set);
        self.create(&document, dice);
    }

    /// Cancels one of the pending executions, or its job.
    pub fn cancel(&mut self, force: bool, dice: usize) {
        let Some(id) = self.any(dice) else { return };
        let force = force.to_string();
        let query = [("force", force.as_str())];
        if dice % 2 == 0 {
            self.call("PUT", &format!("/jobs/{id}/cancel"), &query, &json!({}));
        } else {
            let path = format!("/things/{THING}/jobs/{id}/cancel");
            self.call("PUT", &path, &query, &json!({}));
        }
    }

    /// Deletes one of the pending executions, or its job.
    pub fn delete(&mut self, dice: usize) {
        let Some(id) = self.any(dice) else { return };
        let query = [("force", "true")];
        if dice % 2 == 0 {
            self.call("DELETE", &format!("/jobs/{id}"), &query, &Value::Null);
        } else {
            let list = self.list();
            let listed = list.iter().find(|listed| listed.execution.id == id);
            let number = listed.map_or(1, |listed| listed.execution.number);
            let path = format!("/things/{THING}/jobs/{id}/executionNumber/{number}");
            self.call("DELETE", &path, &query, &Value::Null);
        }
    }

    fn any(&mut self, dice: usize) -> Option<String> {
        let list = self.list();
        let listed = list.get(dice / 2 % list.len().max(1))?;
        Some(listed.execution.id.clone())
    }

    /// Sends a request of the device; returns the answer if it was accepted.
    pub fn ask(&mut self, request: &str, body: &Value) -> Result<Value, Value> {
        self.now += 1;
        let topic = format!("$aws/things/{THING}/jobs/{request}");
        let effects = self
            .engine
            .receive(self.now, &topic, body.to_string().as_bytes());
        let answer = effects.answer.unwrap();
        match answer.topic.ends_with("/accepted") {
            true => Ok(answer.payload),
            false => Err(answer.payload),
        }
    }

    /// Returns the pending executions as a device reads them.
    pub fn list(&mut self) -> Vec<Listed> {
        let list = self.ask("get", &json!({})).unwrap();
        let mut all = Vec::new();
        for field in ["inProgressJobs", "queuedJobs"] {
            for summary in list[field].as_array().unwrap() {
                let id = summary["jobId"].as_str().unwrap();
                let number = summary["executionNumber"].as_u64().unwrap();
                let body = json!({ "executionNumber": number });
                let described = self.ask(&format!("{id}/get"), &body).unwrap();
                let described = &described["execution"];
                all.push(Listed {
                    execution: Execution {
                        id: id.into(),
                        number,
                        queued: described["queuedAt"].as_u64().unwrap(),
                    },
                    status: described["status"].as_str().unwrap().into(),
                    version: described["versionNumber"].as_u64().unwrap(),
                    document: described["jobDocument"].to_string(),
                });
            }
        }
        all
    }
}

/// Returns the document of a job for a set.
pub fn document(set: &Set) -> Value {
    json!({
        "edge": 1,
        "set": format!("registry.example/apps@{}", set.digest),
        "name": set.plan.name,
        "number": set.plan.number,
    })
}
