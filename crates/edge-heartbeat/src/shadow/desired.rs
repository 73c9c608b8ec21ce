//! Desired state in the messages of the shadow.

use serde_json::Value;

/// Interval between two reports that the shadow requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum DesiredInterval {
    /// The shadow requests none, so the built-in interval applies.
    Default,
    /// The shadow requests the interval `desired.heartbeat_seconds`.
    Seconds(u64),
}

/// Value of `desired.vpn`; `None` if the shadow has none.
pub(crate) type DesiredVpn = Option<Value>;

/// Returns `desired.vpn` of a whole desired state. edge-vpn judges the value: one that
/// it does not accept must not leave the earlier peers in place.
pub(super) fn vpn(desired: &Value) -> DesiredVpn {
    match &desired["vpn"] {
        Value::Null => None,
        vpn => Some(vpn.clone()),
    }
}

/// Returns the interval that a whole desired state requests. A missing or invalid value
/// requests the built-in one.
pub(super) fn interval(desired: &Value) -> DesiredInterval {
    match desired["heartbeat_seconds"].as_u64() {
        Some(seconds) => DesiredInterval::Seconds(seconds),
        None => DesiredInterval::Default,
    }
}

/// Returns whether a message reports that somebody else has changed or removed state. The
/// reported state counts as well: reports contain only what the shadow does not have.
pub(super) fn changes(kind: &str, answer: &Value) -> bool {
    match kind {
        "update/delta" | "delete/accepted" => true,
        // Null in place of an object removes all that is in it.
        "update/accepted" => match answer.get("state") {
            Some(Value::Object(state)) => !state.is_empty(),
            state => state.is_some(),
        },
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn desired_intervals_are_numbers() {
        let valid = json!({ "heartbeat_seconds": 60 });
        assert_eq!(interval(&valid), DesiredInterval::Seconds(60));
        for invalid in [json!("60"), json!(-1), json!(1.5), json!(null), json!([60])] {
            let desired = json!({ "heartbeat_seconds": invalid });
            assert_eq!(interval(&desired), DesiredInterval::Default);
        }
        for other in [json!(null), json!({}), json!("x"), json!([1])] {
            assert_eq!(interval(&other), DesiredInterval::Default);
            assert_eq!(vpn(&other), None);
        }
    }

    #[test]
    fn the_desired_vpn_is_taken_as_a_whole() {
        for value in [json!({ "address": "10.0.0.1" }), json!("on"), json!([])] {
            assert_eq!(vpn(&json!({ "vpn": value })), Some(value));
        }
        assert_eq!(vpn(&json!({ "vpn": null })), None);
    }

    #[test]
    fn every_way_to_change_and_to_remove_state_is_noticed() {
        let changing = [
            (
                "update/delta",
                json!({ "state": { "vpn": { "peers": [] } } }),
            ),
            (
                "update/accepted",
                json!({ "state": { "desired": { "vpn": null } } }),
            ),
            ("update/accepted", json!({ "state": { "desired": null } })),
            (
                "update/accepted",
                json!({ "state": { "desired": { "vpn": { "peers": null } }, "reported": {} } }),
            ),
            (
                "update/accepted",
                json!({ "state": { "reported": { "vpn": {} } } }),
            ),
            ("update/accepted", json!({ "state": null })),
            ("delete/accepted", json!({ "version": 3 })),
        ];
        for (kind, answer) in changing {
            assert!(changes(kind, &answer), "{kind} {answer}");
        }
        for (kind, answer) in [
            ("update/accepted", json!({ "state": {} })),
            (
                "get/accepted",
                json!({ "state": { "desired": { "vpn": {} } } }),
            ),
            ("update/accepted", json!(null)),
        ] {
            assert!(!changes(kind, &answer), "{kind} {answer}");
        }
    }
}
