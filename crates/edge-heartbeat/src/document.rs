//! JSON document of a report, within the size limit of AWS.

use anyhow::{Result, bail};
use serde_json::{Map, Value, json};

/// Size limit of a shadow document in AWS IoT, in bytes.
const MAX_DOCUMENT_BYTES: usize = 8 * 1024;

/// Returns the shadow update that reports `state`. If it exceeds the limit of AWS, apps
/// are dropped from the list and counted in `apps_omitted`: only this list is
/// unbounded, and a device whose report is rejected would look dead.
pub(crate) fn text(mut state: Map<String, Value>, token: &str) -> Result<String> {
    let mut omitted = 0;
    loop {
        if omitted > 0 {
            state.insert("apps_omitted".into(), json!(omitted));
        }
        let document = json!({ "state": { "reported": state }, "clientToken": token });
        let text = document.to_string();
        if text.len() <= MAX_DOCUMENT_BYTES {
            return Ok(text);
        }
        let apps = state.get_mut("apps").and_then(Value::as_array_mut);
        let Some(apps) = apps.filter(|a| !a.is_empty()) else {
            bail!(
                "reporting: the document has {} bytes, more than {MAX_DOCUMENT_BYTES}",
                text.len()
            );
        };
        // The number of apps to drop is estimated from their average size. To drop one
        // at a time would serialise a thousand apps a thousand times.
        let average = Value::Array(apps.clone()).to_string().len() / apps.len();
        let excess = (text.len() - MAX_DOCUMENT_BYTES).div_ceil(average.max(1));
        let excess = excess.max(1);
        omitted += excess.min(apps.len());
        apps.truncate(apps.len().saturating_sub(excess));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apps_beyond_the_limit_are_omitted_and_counted() {
        for count in [0, 10, 60, 1000] {
            let app = |n: usize| json!({ "name": format!("app-{n}"), "image": "x".repeat(90) });
            let apps: Vec<_> = (0..count).map(app).collect();
            let mut state = Map::new();
            state.insert("apps".into(), json!(apps));
            state.insert("apps_omitted".into(), Value::Null);
            let text = text(state, "t").unwrap();
            assert!(text.len() <= MAX_DOCUMENT_BYTES);
            let sent: Value = serde_json::from_str(&text).unwrap();
            let reported = &sent["state"]["reported"];
            let kept = reported["apps"].as_array().unwrap().len();
            let omitted = reported["apps_omitted"].as_u64().unwrap_or(0);
            assert_eq!(kept as u64 + omitted, count as u64);
            assert!(count < 60 || kept > 50, "{kept}");
        }
    }

    #[test]
    fn a_document_that_is_too_large_without_apps_is_an_error() {
        let mut state = Map::new();
        state.insert("x".into(), json!("x".repeat(MAX_DOCUMENT_BYTES)));
        assert!(text(state, "t").is_err());
    }
}
