//! Edits of stored containers. Shared by the tests of the policy and those with the real
//! audit.

use serde_json::{Value, json};

/// Edit of a stored container that must be refused.
pub struct Edit {
    /// Text in the reason for the refusal.
    pub rule: &'static str,
    /// File of the engine in which the value is.
    pub file: &'static str,
    /// JSON pointer to the value in this file.
    pub pointer: &'static str,
    /// New value.
    pub value: Value,
}

/// Returns the edits in `stored-edits.txt` of the corpus.
pub fn corpus() -> Vec<Edit> {
    let lines = include_str!("../../../edge-docker/tests/corpus/stored-edits.txt").lines();
    let edits = lines.filter(|line| !line.starts_with('#')).map(|line| {
        let [rule, file, pointer, value] = line.splitn(4, " | ").collect::<Vec<_>>()[..] else {
            panic!("{line}");
        };
        Edit {
            rule,
            file,
            pointer,
            value: serde_json::from_str(value).unwrap(),
        }
    });
    let edits: Vec<_> = edits.collect();
    assert!(edits.len() >= 80, "only {} edits", edits.len());
    edits
}

/// Writes `new` at a JSON pointer, adding what is missing on the way.
pub fn put(value: &mut Value, pointer: &str, new: Value) {
    let mut at = value;
    for part in pointer.split('/').skip(1) {
        let part = part.replace("~1", "/");
        at = match at {
            Value::Array(list) => {
                let number: usize = part.parse().unwrap();
                list.resize(list.len().max(number + 1), Value::Null);
                &mut list[number]
            }
            other => {
                if other.is_null() {
                    *other = json!({});
                }
                let fields = other.as_object_mut().unwrap();
                fields.entry(part).or_insert(Value::Null)
            }
        };
    }
    *at = new;
}
