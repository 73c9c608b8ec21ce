//! Labels of images that would be read as those of edge-docker.
//!
//! The boot audit, reports and `edge-app` believe labels that begin with `edge.`, and
//! only edge-docker may write them, to containers. Images with such labels are refused
//! where they enter: `build`, `load` and `push` on a device, `push` on a laptop.

use anyhow::Result;
use edge_common::contract::label;
use serde_json::Value;

use crate::refusal::refuse;

/// Refuses an image whose configuration has a label that begins with `edge.`; `config`
/// is the object that has the member `Labels`.
///
/// # Errors
/// The refusal names `command` and the label.
pub fn require_none(command: &str, config: &Value) -> Result<()> {
    for labels in members(config, "labels") {
        let mut names = labels
            .as_object()
            .into_iter()
            .flatten()
            .map(|(name, _)| name);
        if let Some(name) = names.find(|n| folded(n).starts_with(label::PREFIX)) {
            return Err(refuse(format_args!(
                "{command} is refused: the image has the label {name:?}: labels that begin with \
                 edge. are edge-docker's; remove it from the Dockerfile or the base image"
            )));
        }
    }
    Ok(())
}

/// Refuses the JSON of an image's configuration with such a label, under any spelling of
/// its members that the engine accepts.
///
/// # Errors
/// As [`require_none`].
pub fn require_none_in_image(command: &str, image: &Value) -> Result<()> {
    let mut configs = members(image, "config").chain(members(image, "container_config"));
    configs.try_for_each(|config| require_none(command, config))
}

/// Returns the members with this name. Go's decoder, and so the engine, ignores the case
/// of names.
fn members<'a>(object: &'a Value, name: &'a str) -> impl Iterator<Item = &'a Value> {
    let all = object.as_object().into_iter().flatten();
    all.filter(move |(key, _)| folded(key) == name)
        .map(|(_, value)| value)
}

/// Returns a name in lower case, with the two letters beyond ASCII that Go's decoder
/// takes for ASCII.
fn folded(name: &str) -> String {
    name.to_lowercase()
        .replace('\u{17f}', "s")
        .replace('\u{212a}', "k")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn labels_of_edge_docker_are_found_in_any_spelling() {
        let unknown = &format!("{}x", label::PREFIX);
        for image in [
            json!({ "config": { "Labels": { (label::APP): "foo" } } }),
            json!({ "Config": { "labels": { "EDGE.app": "" } } }),
            json!({ "CONFIG": { "LABEL\u{17f}": { (label::SANDBOX): "x" } } }),
            json!({ "config": { "Labels": {} }, "Config": { "Labels": { (unknown): "" } } }),
            json!({ "container_config": { "Labels": { (label::SIGNER): "k" } } }),
        ] {
            assert!(require_none_in_image("load", &image).is_err(), "{image}");
        }
        for image in [
            json!({}),
            json!({ "config": { "Labels": null } }),
            json!({ "config": { "Labels": { "edgelike": "x", "com.example.edge.app": "x" } } }),
            json!({ "config": { "Env": [format!("{}=x", label::APP)] } }),
        ] {
            require_none_in_image("load", &image).unwrap();
        }
    }
}
