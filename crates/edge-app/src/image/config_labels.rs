//! Labels in the configuration of an image that is about to be pushed.

use anyhow::Result;
use edge_common::exit::Failure;
use edge_docker_policy::{image_labels, strict_json};

use crate::exit_code::REFUSED;

/// Refuses a configuration with labels that begin with `edge.`, by the rule of
/// `edge-docker`'s `build`, `load` and `push`. One that is not JSON, or in which names occur
/// twice, is refused, too: the engine could read other labels than this check.
pub(super) fn require_none(config: &[u8]) -> Result<()> {
    let refused = |why: String| Failure::error(REFUSED, why);
    let image = strict_json::parse(config)
        .map_err(|e| refused(format!("push is refused: the image's configuration: {e:#}")))?;
    image_labels::require_none_in_image("push", &image).map_err(|e| refused(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use edge_common::contract::label;
    use edge_common::exit;
    use serde_json::json;

    #[test]
    fn configurations_that_hide_a_label_are_refused() {
        require_none(br#"{"config":{"Labels":{"a":"b"}},"os":"linux"}"#).unwrap();
        let labelled = json!({ "Labels": { (label::APP): "hello" } });
        for hostile in [
            json!({ "config": labelled }).to_string(),
            format!(r#"{{"config":{labelled},"config":{{}}}}"#),
            json!({ "config": {}, "Config": labelled }).to_string(),
            r#"{"config":{"Labels":{"#.into(),
            String::new(),
        ] {
            let error = require_none(hostile.as_bytes()).unwrap_err();
            assert_eq!(exit::code_of(&error), REFUSED, "{hostile}: {error:#}");
        }
    }
}
