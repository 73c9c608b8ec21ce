//! Comparison of a recorded create request with the one that the signed run specification
//! gives.

use std::collections::BTreeSet;

use edge_common::contract::label;
use serde_json::Value;

use crate::stored::compare::{parts, short, strings};

/// Objects whose names count without a value, too: an empty `Tmpfs` entry covers a
/// directory, and an empty endpoint joins a network.
const NAMED: [&str; 8] = [
    "/ExposedPorts",
    "/HostConfig/LogConfig/Config",
    "/HostConfig/PortBindings",
    "/HostConfig/StorageOpt",
    "/HostConfig/Sysctls",
    "/HostConfig/Tmpfs",
    "/NetworkingConfig/EndpointsConfig",
    "/Volumes",
];

/// Create request of a signed run specification, with the parts that may differ.
pub struct Expected<'a> {
    /// Create body, without the groups of granted devices.
    pub body: &'a Value,
    /// Image references that the caller of `run` may have typed.
    pub references: &'a [String],
    /// Groups of the granted device nodes.
    pub groups: &'a [String],
    /// Whether a granted device node is absent, so that its group is not known.
    pub has_unknown_groups: bool,
}

/// Checks that the recorded create request is that of the signed run specification.
///
/// # Errors
/// Text that names the field that differs.
pub fn check(record: &Value, expected: &Expected) -> Result<(), String> {
    let mut wanted = expected.body.clone();
    let reference = &record["Labels"][label::IMAGE];
    if expected
        .references
        .iter()
        .any(|known| reference == known.as_str())
    {
        wanted["Labels"][label::IMAGE] = reference.clone();
    }
    let signed = strings(&wanted["HostConfig"]["GroupAdd"]);
    let groups = &record["HostConfig"]["GroupAdd"];
    let more = strings(groups);
    let more = more.strip_prefix(&signed[..]);
    let is_known = |group: &&str| {
        expected.has_unknown_groups || expected.groups.iter().any(|known| known == group)
    };
    if more.is_some_and(|more| more.iter().all(is_known)) {
        wanted["HostConfig"]["GroupAdd"] = groups.clone();
    }
    for pointer in NAMED {
        if names(record, pointer) != names(&wanted, pointer) {
            let value = record.pointer(pointer).unwrap_or(&Value::Null);
            let field = pointer[1..].replace('/', ".");
            return Err(format!("{field} {} is not as signed", short(value)));
        }
    }
    match difference(&parts(record), &parts(&wanted), "") {
        Some(field) => Err(format!("{field} is not as signed")),
        None => Ok(()),
    }
}

fn names<'a>(value: &'a Value, pointer: &str) -> BTreeSet<&'a String> {
    let object = value.pointer(pointer).and_then(Value::as_object);
    object.into_iter().flat_map(serde_json::Map::keys).collect()
}

/// Returns the path and the value of the first part of `one` that differs from `other`.
fn difference(one: &Value, other: &Value, path: &str) -> Option<String> {
    let empty = serde_json::Map::new();
    // An absent object is compared as an empty one, so that the part inside is named.
    let (one, other) = match (one, other) {
        (Value::Object(_), Value::Null) => (one, &Value::Object(empty)),
        (Value::Null, Value::Object(_)) => (&Value::Object(empty), other),
        both => both,
    };
    match (one, other) {
        (Value::Object(one), Value::Object(other)) => {
            let names = one.keys().chain(other.keys());
            let part = |name: &String| {
                let path = match path {
                    "" => name.clone(),
                    path => format!("{path}.{name}"),
                };
                let value = |map: &serde_json::Map<String, Value>| map.get(name).cloned();
                let (one, other) = (value(one), value(other));
                difference(&one.unwrap_or_default(), &other.unwrap_or_default(), &path)
            };
            names.filter_map(part).next()
        }
        _ if one == other => None,
        _ => Some(format!("{path} {}", short(one))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn check_groups(groups: &Value, has_unknown_groups: bool) -> Result<(), String> {
        let body = json!({ "Labels": {}, "HostConfig": { "GroupAdd": ["7"] } });
        let record = json!({ "Labels": {}, "HostConfig": { "GroupAdd": groups } });
        let expected = Expected {
            body: &body,
            references: &[],
            groups: &["44".into()],
            has_unknown_groups,
        };
        check(&record, &expected)
    }

    #[test]
    fn groups_are_the_signed_ones_and_those_of_devices() {
        assert!(check_groups(&json!(["7"]), false).is_ok());
        assert!(check_groups(&json!(["7", "44"]), false).is_ok());
        assert!(check_groups(&json!(["44"]), false).is_err());
        assert!(check_groups(&json!(["7", "6"]), false).is_err());
        assert!(check_groups(&json!(["7", "6"]), true).is_ok());
        assert!(check_groups(&json!(null), true).is_err());
    }

    #[test]
    fn any_other_difference_is_named() {
        let body = json!({ "Labels": { (label::IMAGE): "r:a-1" }, "Env": ["A=b"],
            "HostConfig": { "Memory": 7, "Mounts": [] } });
        let expected = Expected {
            body: &body,
            references: &["r@sha256:0".into()],
            groups: &[],
            has_unknown_groups: true,
        };
        assert_eq!(check(&body, &expected), Ok(()));
        let [image, run] = [label::IMAGE, label::RUN].map(|name| format!("/Labels/{name}"));
        for (pointer, new, named) in [
            ("/Env", json!(["A=c"]), "Env [\"A=c\"] is"),
            ("/Env", json!(null), "Env null is"),
            ("/Cmd", json!(["sh"]), "Cmd"),
            ("/HostConfig/Memory", json!(5), "HostConfig.Memory 5"),
            (&image, json!("other"), "Labels.edge.image"),
            (&run, json!("x"), "Labels.edge.run"),
            // Names without a value.
            ("/ExposedPorts", json!({ "80/tcp": {} }), "ExposedPorts"),
            ("/Volumes", json!({ "/bin": {} }), "Volumes"),
            (
                "/HostConfig/Tmpfs",
                json!({ "/bin": "" }),
                "HostConfig.Tmpfs",
            ),
            (
                "/HostConfig/PortBindings",
                json!({ "80/tcp": [] }),
                "HostConfig.PortBindings",
            ),
            (
                "/NetworkingConfig",
                json!({ "EndpointsConfig": { "evil": {} } }),
                "NetworkingConfig.EndpointsConfig",
            ),
        ] {
            let mut record = body.clone();
            let (parent, name) = pointer.rsplit_once('/').unwrap();
            record.pointer_mut(parent).unwrap()[name] = new;
            let why = check(&record, &expected).unwrap_err();
            assert!(why.contains(named), "{pointer}: {why}");
        }
        let mut record = body.clone();
        record["Labels"][label::IMAGE] = json!("r@sha256:0");
        assert_eq!(check(&record, &expected), Ok(()));
    }
}
