//! Number of containers in each state, and the apps that they run, from the socket of
//! the container engine.

use std::collections::BTreeMap;

use edge_common::Root;
use edge_common::contract::label;
use edge_common::engine::{self, Container};
use serde_json::{Map, Value, json};

/// Length limit of a value in a report, in characters.
const MAX_VALUE_CHARS: usize = 128;
/// All container states of the engine. A state without containers is reported as null,
/// which removes the count of an earlier report from the shadow.
const STATES: [&str; 7] = [
    "created",
    "running",
    "paused",
    "restarting",
    "removing",
    "exited",
    "dead",
];

/// Returns the number of containers in each state, and the apps by the name of their
/// container; `None` for both if the engine does not answer.
pub(crate) fn report(root: &Root) -> (Option<Value>, Option<Value>) {
    let Ok(containers) = engine::containers(root) else {
        return (None, None);
    };
    (Some(counts(&containers)), Some(apps(&containers)))
}

fn counts(containers: &[Container]) -> Value {
    let count = |state: &str| containers.iter().filter(|c| c.state == state).count();
    let count = |state: &&str| match count(state) {
        0 => Value::Null,
        number => json!(number),
    };
    let all: Map<_, _> = STATES.iter().map(|s| (s.to_string(), count(s))).collect();
    Value::Object(all)
}

/// Returns the apps of all containers, as named by the labels that edge-docker sets.
fn apps(containers: &[Container]) -> Value {
    let app = |container: &Container| {
        // With the label of a sandbox, those of a signature are not edge-docker's: in
        // containers of earlier versions, labels of the image could stand for them.
        let set = |key: &str| container.label(key).map(shorten);
        let sandbox = set(label::SANDBOX);
        let signed = |key: &str| set(key).filter(|_| sandbox.is_none());
        let name = sandbox.clone().or_else(|| signed(label::APP))?;
        let container_name = container.name().map_or_else(|| name.clone(), shorten);
        let facts = [
            ("app", Some(name).filter(|name| *name != container_name)),
            ("state", Some(shorten(&container.state))),
            ("health", container.health().map(|h| h.as_str().into())),
            ("version", signed(label::VERSION)),
            ("image", set(label::IMAGE)),
            ("signer", signed(label::SIGNER)),
            ("sandbox", sandbox.as_ref().map(|_| "yes".into())),
        ];
        let facts = facts.into_iter().filter_map(|(k, v)| Some((k, v?)));
        Some((container_name, facts.collect::<BTreeMap<_, _>>()))
    };
    json!(
        containers
            .iter()
            .filter_map(app)
            .collect::<BTreeMap<_, _>>()
    )
}

/// Returns the last [`MAX_VALUE_CHARS`] characters of a value: an image reference ends
/// with its digest or tag.
fn shorten(text: &str) -> String {
    let skip = text.chars().count().saturating_sub(MAX_VALUE_CHARS);
    text.chars().skip(skip).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_counted_and_apps_listed() {
        let signed = json!({ label::APP: "b", label::VERSION: "v2", label::SIGNER: "k1",
            label::IMAGE: "host/x@sha256:1" });
        let containers = json!([
            { "State": "running", "Names": ["/b"], "Image": "x", "Labels": signed },
            { "State": "exited", "Names": ["/one"], "Labels": { label::SANDBOX: "a" } },
            // Labels of an image beside the one of a sandbox, as earlier versions of
            // edge-docker let them through.
            { "State": "running", "Names": ["/c"], "Labels": { label::SANDBOX: "c",
                label::APP: "b", label::VERSION: "v9", label::SIGNER: "k1" } },
            { "State": "running", "Status": "Up 5 minutes (unhealthy)", "Names": ["/d"], "Labels": { label::SANDBOX: "", label::APP: "d",
                label::VERSION: "v1", label::SIGNER: "", label::IMAGE: "" } },
            { "State": "running", "Names": ["/foreign"], "Labels": {} },
            { "State": "running", "Names": [], "Labels": null },
        ]);
        let containers: Vec<Container> = serde_json::from_value(containers).unwrap();
        let counts = counts(&containers);
        assert_eq!(
            (&counts["running"], &counts["exited"]),
            (&json!(5), &json!(1))
        );
        assert!(counts["dead"].is_null() && counts.get("dead").is_some());
        let expected = json!({
            "one": { "app": "a", "state": "exited", "sandbox": "yes" },
            "c": { "state": "running", "sandbox": "yes" },
            "d": { "state": "running", "health": "unhealthy", "version": "v1" },
            "b": { "state": "running", "version": "v2", "image": "host/x@sha256:1", "signer": "k1" },
        });
        assert_eq!(apps(&containers), expected);
    }

    #[test]
    fn long_values_keep_their_end() {
        let long = format!("{}@sha256:1", "é".repeat(500));
        let short = shorten(&long);
        assert!(short.ends_with("@sha256:1") && short.chars().count() == MAX_VALUE_CHARS);
    }
}
