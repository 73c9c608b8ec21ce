//! JSON documents of reports, within the size limit of AWS.
//!
//! AWS limits the desired and the reported state of a shadow together. So a report is
//! made to fit into what the desired state leaves, keys that an earlier report left in the
//! shadow are removed by null, and only what the shadow does not have is sent.

pub(crate) mod apps;
mod bounds;
pub(crate) mod classic;

use serde_json::{Map, Value, json};

/// Size limit of a shadow document in AWS IoT, in bytes: desired and reported state
/// without metadata.
pub(crate) const MAX_DOCUMENT_BYTES: usize = 8 * 1024;
/// Bytes that no report uses: names of the two states, client token, and different ways
/// to count.
const MARGIN_BYTES: usize = 256;

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

    /// Returns the entries of `update` that change this document.
    pub(crate) fn changed(&self, update: Map<String, Value>) -> Map<String, Value> {
        changed(update, &self.reported)
    }

    /// Returns the bytes that a report of the keys in `state` may occupy, of which
    /// `reserved` are kept for the desired state.
    fn room(&self, state: &Map<String, Value>, reserved: usize) -> usize {
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
        (MAX_DOCUMENT_BYTES - MARGIN_BYTES).saturating_sub(desired.max(reserved) + foreign)
    }

    /// Returns the update that reports `state`, with null for each key to remove. Keys to
    /// remove count in the payload, which has the same limit: parts for which there is no
    /// room, the highest `rank` first, are removed as a whole and come with the next report.
    fn update_with(
        &self,
        mut state: Map<String, Value>,
        rank: impl Fn(&str) -> usize,
    ) -> Map<String, Value> {
        remove_stale(&mut state, &self.reported);
        let mut parts: Vec<_> = state.keys().cloned().collect();
        parts.sort_by_key(|name| rank(name));
        while size(&state) > MAX_DOCUMENT_BYTES - MARGIN_BYTES {
            let Some(part) = parts.pop() else { break };
            state.insert(part, Value::Null);
        }
        state
    }

    /// Returns the update that reports `state` as it is, with null for each key of an
    /// earlier report.
    pub(crate) fn replace(&self, mut state: Map<String, Value>) -> Map<String, Value> {
        for gone in self.reported.keys() {
            state.entry(gone).or_insert(Value::Null);
        }
        self.update_with(state, |_| 0)
    }
}

/// Returns the payload of a shadow update.
pub(crate) fn payload(update: &Map<String, Value>, token: &str) -> String {
    json!({ "state": { "reported": update }, "clientToken": token }).to_string()
}

fn changed(update: Map<String, Value>, known: &Map<String, Value>) -> Map<String, Value> {
    let entry = |(key, value): (String, Value)| match (value, known.get(&key)) {
        (Value::Null, None) => None,
        (Value::Object(new), Some(Value::Object(old))) => {
            let new = changed(new, old);
            (!new.is_empty()).then_some((key, Value::Object(new)))
        }
        (value, Some(old)) if value == *old => None,
        (value, _) => Some((key, value)),
    };
    update.into_iter().filter_map(entry).collect()
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
