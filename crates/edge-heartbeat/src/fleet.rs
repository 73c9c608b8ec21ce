//! Report of edge-fleet, which edge-heartbeat forwards to the shadow `fleet` as it is.

use edge_common::contract::limit::FLEET_REPORT_BYTES;
use edge_common::contract::path::FLEET_REPORT;
use edge_common::{Root, file};
use serde_json::Value;

/// Returns the report; `None` if there is none, or it is no JSON object.
pub(crate) fn report(root: &Root) -> Option<Value> {
    let text = file::read(&root.path(FLEET_REPORT), FLEET_REPORT_BYTES).ok()?;
    let report: Value = serde_json::from_slice(&text).ok()?;
    report.is_object().then_some(report)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::root_with;

    #[test]
    fn only_an_object_within_the_limit_is_a_report() {
        let good = r#"{"v":1,"phase":"idle","later":[1]}"#;
        let (_directory, root) = root_with(&[(FLEET_REPORT, good)]);
        assert_eq!(report(&root).unwrap()["later"][0], 1);
        let deep = format!(
            "{}{}",
            "{\"a\":".repeat(500),
            "1".to_string() + &"}".repeat(500)
        );
        let large = format!(r#"{{"a":"{}"}}"#, "x".repeat(7000));
        for bad in ["", "{", "[]", "7", &good[..20], &deep, &large] {
            let (_directory, root) = root_with(&[(FLEET_REPORT, bad)]);
            assert_eq!(report(&root), None, "{bad}");
        }
        let (_directory, root) = root_with(&[]);
        assert_eq!(report(&root), None);
    }
}
