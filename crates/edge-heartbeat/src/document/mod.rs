//! JSON document of a report, within the size limit of AWS.
//!
//! AWS limits the desired and the reported state of a shadow together. So a report is
//! made to fit into what the desired state leaves, each part has a budget of its own,
//! and keys that an earlier report left in the shadow are removed by null.

mod bounds;

use serde_json::{Map, Value, json};

use crate::release_numbers;

/// Size limit of a shadow document in AWS IoT, in bytes: desired and reported state
/// without metadata.
pub(crate) const MAX_DOCUMENT_BYTES: usize = 8 * 1024;
/// Bytes that no report uses: names of the two states, client token, and different ways
/// to count.
const MARGIN_BYTES: usize = 256;
/// Bytes that a report leaves to the desired state, so that an operator can set
/// `desired.vpn` at its limit without a rejection.
const DESIRED_BYTES: usize = 2304;
/// Size of the smallest budget: the device and why its report is so small.
const MIN_BUDGET_BYTES: usize = 512;
/// Bytes that are kept for the notes on what was omitted.
const NOTES_BYTES: usize = 160;
/// Budgets of the parts in bytes, the most important part first. A part that is not
/// listed has [`OTHER_BYTES`] and comes before the last two, which take what is left.
const BUDGETS: [(&str, usize); 21] = [
    ("uptime_seconds", 24),
    ("heartbeat_seconds", 24),
    ("report_rejected", 240),
    ("unanswered", 64),
    ("software", 256),
    ("address", 64),
    ("disk", 320),
    ("boot", 1536),
    ("break_glass", 1024),
    ("release_numbers_fell", 256),
    ("memory", 96),
    ("ledger", 128),
    ("release_numbers", 512),
    ("load", 96),
    ("containers", 192),
    ("vpn_hostname", 272),
    ("over_current_events", 24),
    ("throttling", 320),
    ("temperature_celsius", 640),
    ("vpn", 2304),
    ("apps", MAX_DOCUMENT_BYTES),
];
/// Budget of a part without one in [`BUDGETS`], in bytes.
const OTHER_BYTES: usize = 384;

/// Shadow document in the cloud, as far as the device knows it.
#[derive(Debug, Default, Clone)]
pub(crate) struct Document {
    desired: Value,
    reported: Map<String, Value>,
}

impl Document {
    /// Reads the state in an answer to a request of the whole shadow.
    pub(crate) fn of(state: &Value) -> Self {
        Self {
            desired: state["desired"].clone(),
            reported: state["reported"].as_object().cloned().unwrap_or_default(),
        }
    }

    /// Records that the shadow has accepted `update`.
    pub(crate) fn merge(&mut self, update: &Map<String, Value>) {
        merge(&mut self.reported, update);
    }

    /// Returns the bytes that a report of the keys in `state` may occupy.
    fn room(&self, state: &Map<String, Value>) -> usize {
        // Keys of other programs, which a report leaves alone.
        let foreign = self
            .reported
            .iter()
            .filter(|(k, _)| !state.contains_key(*k));
        let foreign: usize = foreign.map(|(k, v)| entry_bytes(k, v)).sum();
        let desired = match &self.desired {
            Value::Null => 0,
            desired => desired.to_string().len(),
        };
        (MAX_DOCUMENT_BYTES - MARGIN_BYTES)
            .saturating_sub(desired.max(DESIRED_BYTES) + foreign)
            .max(MIN_BUDGET_BYTES)
    }

    /// Returns the update that reports `state` in at most `budget` bytes of the
    /// document, with null for each key to remove.
    pub(crate) fn update(
        &self,
        mut state: Map<String, Value>,
        budget: usize,
    ) -> Map<String, Value> {
        // Before the reduction: a number for which there is no room has not fallen.
        release_numbers::note_fallen(&mut state, &self.reported);
        let budget = budget.clamp(MIN_BUDGET_BYTES, self.room(&state));
        let mut update = fit(state, budget.saturating_sub(NOTES_BYTES));
        remove_stale(&mut update, &self.reported);
        // Keys to remove count in the payload, which has the same limit. A part that is
        // removed as a whole comes with the next report.
        let mut parts: Vec<_> = update.keys().cloned().collect();
        parts.sort_by_key(|name| rank(name));
        while size(&update) > MAX_DOCUMENT_BYTES - MARGIN_BYTES {
            let Some(part) = parts.pop() else { break };
            update.insert(part, Value::Null);
        }
        update
    }
}

/// Returns the payload of a shadow update.
pub(crate) fn payload(update: &Map<String, Value>, token: &str) -> String {
    json!({ "state": { "reported": update }, "clientToken": token }).to_string()
}

/// Reduces each part to its budget and to what the more important parts leave.
fn fit(mut state: Map<String, Value>, budget: usize) -> Map<String, Value> {
    let mut parts: Vec<_> = state.keys().cloned().collect();
    parts.sort_by_key(|name| rank(name));
    let (mut left, mut shortened, mut omitted) = (budget, Vec::new(), 0);
    for name in parts {
        let Some(value) = state.get_mut(&name).filter(|v| !v.is_null()) else {
            continue;
        };
        let limit = budget_of(&name).min(left.saturating_sub(name.len() + 4));
        let count = value.as_array().map_or(0, Vec::len);
        if bounds::reduce(value, limit) {
            omitted = count - value.as_array().map_or(0, Vec::len);
            shortened.push(name.clone());
        }
        if !value.is_null() {
            left = left.saturating_sub(entry_bytes(&name, value));
        }
        if name == "apps" {
            // The count is more useful to operators than a mark.
            shortened.retain(|part| part != "apps");
        }
    }
    let omitted = (omitted > 0).then_some(omitted);
    state.insert("apps_omitted".into(), json!(omitted));
    let mut notes = json!(shortened);
    bounds::reduce(&mut notes, NOTES_BYTES - 40);
    let notes = notes.as_array().filter(|notes| !notes.is_empty());
    state.insert("shortened".into(), json!(notes));
    state
}

fn budget_of(name: &str) -> usize {
    let budget = BUDGETS.iter().find(|(part, _)| *part == name);
    budget.map_or(OTHER_BYTES, |(_, bytes)| *bytes)
}

/// Returns the place of a part in the order of importance.
fn rank(name: &str) -> usize {
    let others = BUDGETS.len() - 2;
    match BUDGETS.iter().position(|(part, _)| *part == name) {
        Some(place) if place >= others => place + 1,
        Some(place) => place,
        None => others,
    }
}

fn size(object: &Map<String, Value>) -> usize {
    2 + object.iter().map(|(k, v)| entry_bytes(k, v)).sum::<usize>()
}

/// Returns the bytes of `"key":value,`.
fn entry_bytes(key: &str, value: &Value) -> usize {
    Value::from(key).to_string().len() + value.to_string().len() + 2
}

/// Merges as the shadow does: objects key by key, null removes.
fn merge(old: &mut Map<String, Value>, new: &Map<String, Value>) {
    for (key, value) in new {
        match (value, old.get_mut(key)) {
            (Value::Null, _) => {
                old.remove(key);
            }
            (Value::Object(new), Some(Value::Object(old))) => merge(old, new),
            (Value::Object(new), _) => {
                let mut object = Map::new();
                merge(&mut object, new);
                old.insert(key.clone(), Value::Object(object));
            }
            _ => {
                old.insert(key.clone(), value.clone());
            }
        }
    }
}

/// Adds null for each key inside of a reported part that the shadow has and `new` has
/// not: the shadow merges objects, so a boot step or a sensor would stay for ever.
fn remove_stale(new: &mut Map<String, Value>, old: &Map<String, Value>) {
    for (key, value) in new {
        let (Value::Object(new), Some(Value::Object(old))) = (value, old.get(key)) else {
            continue;
        };
        for gone in old.keys() {
            new.entry(gone).or_insert(Value::Null);
        }
        remove_stale(new, old);
    }
}

#[cfg(test)]
mod tests;
