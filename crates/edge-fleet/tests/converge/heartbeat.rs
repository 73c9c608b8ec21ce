//! edge-heartbeat's half: the list into a file, and results from a file to AWS until the list
//! agrees.

use edge_fleet::converge::Results;
use serde_json::{Value, json};

use super::cloud::{Cloud, Listed};

#[derive(Default)]
pub struct Heartbeat {
    /// Last list, and the one before it.
    pub list: Vec<Listed>,
    earlier: Vec<Listed>,
}

/// Returns `in/jobs.json` with a list.
pub fn file(list: &[Listed], complete: bool) -> Vec<u8> {
    let jobs = list.iter().map(|listed| {
        json!({
            "id": listed.execution.id, "number": listed.execution.number,
            "queued": listed.execution.queued, "status": listed.status,
            "version": listed.version, "document": listed.document,
        })
    });
    let jobs: Value = jobs.collect();
    let file = json!({ "v": 1, "time": 1, "complete": complete, "jobs": jobs });
    file.to_string().into_bytes()
}

impl Heartbeat {
    /// Reads the list; returns the file.
    pub fn sync(&mut self, cloud: &mut Cloud) -> Vec<u8> {
        let list = cloud.list();
        self.earlier = std::mem::replace(&mut self.list, list);
        file(&self.list, self.list.len() < 10)
    }

    /// Returns the file with the list before the last one.
    pub fn stale(&self) -> Vec<u8> {
        // A list with an unknown age proves nothing about who is missing.
        file(&self.earlier, false)
    }

    /// Reports the first result that the list does not show; returns the execution with its
    /// status and details if AWS accepted it.
    pub fn report(&mut self, cloud: &mut Cloud, results: &Results, lost: bool) -> Option<Listed> {
        let differs = |listed: &&Listed| {
            let result = results.of(&listed.execution);
            result.is_some_and(|result| json!(result.status) != json!(listed.status))
        };
        let listed = self.list.iter().find(differs)?.clone();
        let result = results.of(&listed.execution)?;
        let body = json!({
            "status": result.status, "statusDetails": result.details,
            "expectedVersion": listed.version, "executionNumber": listed.execution.number,
        });
        let answer = cloud.ask(&format!("{}/update", listed.execution.id), &body);
        // Without an answer the list still says the old, and the report is repeated.
        if !lost {
            self.list
                .retain(|known| known.execution != listed.execution);
        }
        let status = json!(result.status).as_str().unwrap().to_string();
        match answer {
            Ok(_) => Some(Listed { status, ..listed }),
            Err(refused) => {
                let code = refused["code"].as_str().unwrap();
                let expected = [
                    "VersionMismatch",
                    "InvalidStateTransition",
                    "ResourceNotFound",
                ];
                assert!(expected.contains(&code), "{refused}");
                None
            }
        }
    }
}
