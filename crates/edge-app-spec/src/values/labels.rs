//! Labels of the container: `labels`.

use std::collections::BTreeMap;

use edge_docker_policy::bounds;

use super::scalar::accepted;
use crate::yaml::{Node, Problem, Value};

/// Prefix of the labels in which edge-app keeps its own state.
const OWN_PREFIX: &str = "edge-app.";

/// Reads `labels`: a mapping, or a list of `NAME=VALUE` or `NAME`.
pub(crate) fn labels(node: &Node) -> Result<BTreeMap<String, String>, Problem> {
    let mut labels = BTreeMap::new();
    match &node.value {
        Value::Map(entries) => {
            for (key, value) in entries {
                let text = if value.is_null() { "" } else { value.text()? };
                add(&mut labels, value, &key.text, text)?;
            }
        }
        Value::List(entries) => {
            for entry in entries {
                let text = entry.text()?;
                let (name, value) = text.split_once('=').unwrap_or((text, ""));
                add(&mut labels, entry, name, value)?;
            }
        }
        _ => return Err(node.unexpected("a mapping, or a list of NAME=VALUE")),
    }
    let pairs = labels
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()));
    bounds::check(0, pairs).map_err(|why| node.problem(why))?;
    Ok(labels)
}

fn add(
    labels: &mut BTreeMap<String, String>,
    node: &Node,
    name: &str,
    value: &str,
) -> Result<(), Problem> {
    // The device gets `NAME=VALUE`, so the name would end at the sign.
    if name.contains('=') || name.contains(char::is_control) {
        return Err(node.problem(format_args!(
            "label {name:?}: a name holds neither `=` nor control characters"
        )));
    }
    if name.to_ascii_lowercase().starts_with(OWN_PREFIX) {
        return Err(node.problem(format_args!(
            "label {name:?}: names that begin with {OWN_PREFIX} are edge-app's own"
        )));
    }
    accepted(node, "label", &format!("{name}={value}"))?;
    match labels.insert(name.to_string(), value.to_string()) {
        None => Ok(()),
        Some(_) => Err(node.problem(format_args!("{name} is in the list already"))),
    }
}
