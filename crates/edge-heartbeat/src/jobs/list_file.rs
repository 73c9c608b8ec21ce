//! File with the pending executions and their documents, written for edge-fleet.

use anyhow::{Context, Result};
use edge_common::contract::limit::FLEET_FILE_BYTES;
use edge_common::contract::path::FLEET_JOBS;
use edge_common::{Root, file};
use serde_json::{Value, json};

use super::execution::{Execution, Status};

/// Maximum number of executions in the file.
const MAX_JOBS: usize = 10;

/// Returns the executions for the file, those in progress first and then the oldest, and
/// whether they are all.
fn jobs(known: &[Execution]) -> (Vec<Value>, bool) {
    let mut order: Vec<_> = known.iter().collect();
    order.sort_by_key(|e| {
        (
            e.status != Status::InProgress,
            e.key.queued,
            e.key.id.clone(),
        )
    });
    let mut jobs = Vec::new();
    // The line around them.
    let mut left = usize::try_from(FLEET_FILE_BYTES).unwrap_or(usize::MAX) - 128;
    for execution in order.iter().take(MAX_JOBS) {
        let job = json!({
            "id": execution.key.id, "number": execution.key.number,
            "queued": execution.key.queued, "status": execution.status.word(),
            "version": execution.version, "document": execution.document,
        });
        let bytes = job.to_string().len() + 1;
        if bytes > left {
            return (jobs, false);
        }
        left -= bytes;
        jobs.push(job);
    }
    let all = jobs.len() == known.len();
    (jobs, all)
}

/// Writes the executions and the time of the cloud, unless the file has them. Only this
/// program writes in the directory.
pub(super) fn save(root: &Root, known: &[Execution], complete: bool, time: u64) -> Result<()> {
    let (jobs, all) = jobs(known);
    let complete = complete && all;
    let path = root.path(FLEET_JOBS);
    let old = file::read(&path, FLEET_FILE_BYTES).unwrap_or_default();
    let mut content = match serde_json::from_slice(&old) {
        Ok(content @ Value::Object(_)) => content,
        _ => json!({}),
    };
    if content["v"] == 1
        && content["complete"] == complete
        && content["jobs"].as_array() == Some(&jobs)
    {
        return Ok(());
    }
    let directory = path.parent().context("a path without a directory")?;
    file::create_directory(directory, 0o700)?;
    file::remove_leftovers(directory)?;
    // Fields of a later version stay, unless there is no room for them.
    content["v"] = json!(1);
    content["time"] = json!(time);
    content["complete"] = json!(complete);
    content["jobs"] = json!(jobs);
    let mut text = content.to_string();
    if text.len() as u64 > FLEET_FILE_BYTES {
        text = json!({ "v": 1, "time": time, "complete": complete, "jobs": jobs }).to_string();
    }
    file::write(&path, text.as_bytes(), 0o600)
}
