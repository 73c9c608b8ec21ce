//! The document that is sent, within AWS's limit.

use anyhow::{Result, bail};
use serde_json::{Map, Value, json};

/// Largest document that AWS takes, in bytes.
const LARGEST: usize = 8 * 1024;

/// `state` as an update of the reported half. If it is too large the list of
/// apps is shortened, from its end, and says by how many.
///
/// # Errors
/// Too large even without.
pub fn text(mut state: Map<String, Value>, token: &str) -> Result<String> {
    let mut omitted = 0;
    loop {
        if omitted > 0 {
            state.insert("apps_omitted".into(), json!(omitted));
        }
        let document = json!({ "state": { "reported": state }, "clientToken": token });
        let text = document.to_string();
        if text.len() <= LARGEST {
            return Ok(text);
        }
        let apps = state.get_mut("apps").and_then(Value::as_array_mut);
        let Some(apps) = apps.filter(|a| !a.is_empty()) else {
            bail!(
                "reporting: the document has {} bytes, more than {LARGEST}",
                text.len()
            );
        };
        // What is over, in apps of average size, and at least one.
        let average = Value::Array(apps.clone()).to_string().len() / apps.len();
        let over = (text.len() - LARGEST).div_ceil(average.max(1)).max(1);
        omitted += over.min(apps.len());
        apps.truncate(apps.len().saturating_sub(over));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn too_many_apps_are_cut_and_counted() {
        for count in [0, 10, 60, 1000] {
            let app = |n: usize| json!({ "name": format!("app-{n}"), "image": "x".repeat(90) });
            let apps: Vec<_> = (0..count).map(app).collect();
            let mut state = Map::new();
            state.insert("apps".into(), json!(apps));
            state.insert("apps_omitted".into(), Value::Null);
            let text = text(state, "t").unwrap();
            assert!(text.len() <= LARGEST);
            let sent: Value = serde_json::from_str(&text).unwrap();
            let reported = &sent["state"]["reported"];
            let kept = reported["apps"].as_array().unwrap().len();
            let omitted = reported["apps_omitted"].as_u64().unwrap_or(0);
            assert_eq!(kept as u64 + omitted, count as u64);
            assert!(count < 60 || kept > 50, "{kept}");
        }
    }

    #[test]
    fn too_large_otherwise_is_an_error() {
        let mut state = Map::new();
        state.insert("x".into(), json!("x".repeat(LARGEST)));
        assert!(text(state, "t").is_err());
    }
}
