//! Highest release numbers that this device has accepted, as edge-docker records them.
//!
//! Whoever has the disk can remove the records, and then an old version is accepted again.
//! The shadow cannot be changed there: a number that is lower than the reported one shows.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use edge_common::contract::path::{RELEASE_NUMBER_COPIES, RELEASE_NUMBERS};
use edge_common::{Root, file};
use serde_json::{Map, Value, json};

/// Key of the report with the numbers by app.
const KEY: &str = "release_numbers";
/// Key of the report with reported numbers that the device no longer has.
const FALLEN: &str = "release_numbers_fell";
/// Size limit of a record, in bytes.
const MAX_RECORD_BYTES: u64 = 4096;
/// Maximum number of records that are read.
const MAX_RECORDS: usize = 512;
/// Length limit of the name of an app, in bytes.
const MAX_NAME_BYTES: usize = 64;

/// Returns the highest number by app; of a record and its copy, the higher one counts, as
/// in edge-docker. `None` if a directory cannot be read.
pub(crate) fn report(root: &Root) -> Option<Value> {
    let mut numbers = BTreeMap::new();
    for directory in [RELEASE_NUMBERS, RELEASE_NUMBER_COPIES] {
        let entries = match fs::read_dir(root.path(directory)) {
            // Nothing was accepted yet, or the records were removed: both are reported.
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            entries => entries.ok()?,
        };
        for entry in entries.take(MAX_RECORDS) {
            let entry = entry.ok()?;
            let Some(app) = entry.file_name().to_str().filter(is_app).map(String::from) else {
                continue;
            };
            if let Some(number) = highest(&entry.path()) {
                let known = numbers.entry(app).or_insert(number);
                *known = number.max(*known);
            }
        }
    }
    Some(json!(numbers))
}

fn highest(path: &Path) -> Option<u64> {
    let text = file::read(path, MAX_RECORD_BYTES).ok()?;
    let record: Value = serde_json::from_slice(&text).ok()?;
    record["highest"].as_u64()
}

fn is_app(name: &&str) -> bool {
    let is_part = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    name.len() <= MAX_NAME_BYTES && name.bytes().all(is_part)
}

/// Adds the numbers of the reported state that `state` no longer reaches. They stay in the
/// shadow until somebody removes them there, because the next report has nothing to
/// compare with.
pub(crate) fn note_fallen(state: &mut Map<String, Value>, reported: &Map<String, Value>) {
    let (Some(now), Some(Value::Object(before))) =
        (state.get(KEY).and_then(Value::as_object), reported.get(KEY))
    else {
        return;
    };
    let has_fallen = |(app, before): &(&String, &Value)| {
        let now = now.get(*app).and_then(Value::as_u64);
        before
            .as_u64()
            .is_some_and(|before| now.is_none_or(|now| now < before))
    };
    let fallen: Map<_, _> = before.iter().filter(has_fallen).map(owned).collect();
    if fallen.is_empty() {
        return;
    }
    let mut all = reported
        .get(FALLEN)
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default();
    all.extend(fallen);
    state.insert(FALLEN.into(), Value::Object(all));
}

fn owned((app, number): (&String, &Value)) -> (String, Value) {
    (app.clone(), number.clone())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::root_with;

    #[test]
    fn the_higher_of_record_and_copy_is_reported() {
        let record = |n: &str| format!(r#"{{"v":1,"highest":{n},"allowed":[],"later":0}}"#);
        let path = |directory: &str, app: &str| format!("{directory}/{app}");
        let files = [
            (path(RELEASE_NUMBERS, "camera"), record("7")),
            (path(RELEASE_NUMBER_COPIES, "camera"), record("9")),
            (
                path(RELEASE_NUMBERS, "lamp"),
                record("18446744073709551615"),
            ),
            (path(RELEASE_NUMBER_COPIES, "net"), record("3")),
            (path(RELEASE_NUMBERS, "cut"), record("5")[..9].into()),
            (path(RELEASE_NUMBERS, "empty"), String::new()),
            (path(RELEASE_NUMBERS, "large"), record(&"1".repeat(5000))),
            (path(RELEASE_NUMBERS, "negative"), record("-1")),
            (path(RELEASE_NUMBERS, ".new-camera"), record("99")),
            (path(RELEASE_NUMBERS, "Ca\u{1b}[2J"), record("99")),
            (path(RELEASE_NUMBERS, &"n".repeat(65)), record("99")),
        ];
        let files = files
            .each_ref()
            .map(|(path, text)| (path.as_str(), text.as_str()));
        let (_directory, root) = root_with(&files);
        let expected = json!({ "camera": 9, "lamp": u64::MAX, "net": 3 });
        assert_eq!(report(&root), Some(expected));
        let (_directory, root) = root_with(&[]);
        assert_eq!(report(&root), Some(json!({})));
        let (_directory, root) = root_with(&[(RELEASE_NUMBERS, "no directory")]);
        assert_eq!(report(&root), None);
    }

    #[test]
    fn a_number_that_fell_is_noted() {
        let object = |value: Value| value.as_object().cloned().unwrap();
        let reported = object(json!({ KEY: { "a": 7, "b": 2, "c": 1, "d": "x" } }));
        let noted = |numbers: Value, reported: &Map<_, _>| {
            let mut state = object(json!({ KEY: numbers }));
            note_fallen(&mut state, reported);
            state.get(FALLEN).cloned().unwrap_or_default()
        };
        assert_eq!(
            noted(json!({ "a": 7, "b": 3, "c": 1, "e": 1 }), &reported),
            Value::Null
        );
        assert_eq!(
            noted(json!({ "a": 6, "b": 2 }), &reported),
            json!({ "a": 7, "c": 1 })
        );
        assert_eq!(
            noted(json!({}), &reported),
            json!({ "a": 7, "b": 2, "c": 1 })
        );
        // The directory could not be read, or the shadow is new.
        assert_eq!(noted(Value::Null, &reported), Value::Null);
        assert_eq!(noted(json!({ "a": 1 }), &Map::new()), Value::Null);
        let earlier = object(json!({ KEY: { "a": 7 }, FALLEN: { "z": 4 } }));
        assert_eq!(noted(json!({}), &earlier), json!({ "a": 7, "z": 4 }));
    }
}
