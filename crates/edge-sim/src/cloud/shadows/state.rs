//! State of a shadow: validation, merging, and the difference of desired and reported state.

use serde_json::{Map, Value};

/// Maximum depth of the desired and of the reported state.
const MAX_DEPTH: usize = 6;

/// Returns why AWS rejects the state of an update, if it does.
pub(super) fn invalid(state: &Value) -> Option<&'static str> {
    let Some(parts) = state.as_object() else {
        return Some(match state {
            Value::Null => "Missing required node: state",
            _ => "State node must be an object",
        });
    };
    for (part, value) in parts {
        let message = match part.as_str() {
            "desired" => "Desired node must be an object",
            "reported" => "Reported node must be an object",
            _ => return Some("State contains an invalid node"),
        };
        if !value.is_object() && !value.is_null() {
            return Some(message);
        }
        if depth(value) > MAX_DEPTH {
            return Some("JSON contains too many levels of nesting; maximum is 6");
        }
        if has_null_element(value) {
            return Some("State contains an invalid node");
        }
    }
    None
}

fn depth(value: &Value) -> usize {
    match value {
        Value::Object(members) => 1 + members.values().map(depth).max().unwrap_or(0),
        Value::Array(elements) => 1 + elements.iter().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}

/// Returns whether an array in `value` contains null, which AWS rejects.
fn has_null_element(value: &Value) -> bool {
    match value {
        Value::Object(members) => members.values().any(has_null_element),
        Value::Array(list) => list.iter().any(|e| e.is_null() || has_null_element(e)),
        _ => false,
    }
}

/// Merges `new` into `old`, objects recursively. null removes a key, any other
/// value replaces the old one.
pub(super) fn merge(old: &mut Value, new: &Value) {
    let Value::Object(new) = new else {
        *old = new.clone();
        return;
    };
    if !old.is_object() {
        *old = Value::Object(Map::new());
    }
    let Some(old) = old.as_object_mut() else {
        return;
    };
    for (key, value) in new {
        if value.is_null() {
            old.remove(key);
        } else {
            merge(old.entry(key).or_insert(Value::Null), value);
        }
    }
}

/// Returns the parts of `desired` that are absent or different in `reported`;
/// `None` if there are none.
pub(super) fn difference(desired: &Value, reported: &Value) -> Option<Value> {
    match (desired, reported) {
        (Value::Object(desired), reported) => {
            let parts = desired
                .iter()
                .filter_map(|(k, d)| Some((k.clone(), difference(d, &reported[k])?)));
            let parts: Map<_, _> = parts.collect();
            (!parts.is_empty()).then_some(Value::Object(parts))
        }
        (Value::Null, _) => None,
        (desired, reported) => (desired != reported).then(|| desired.clone()),
    }
}
