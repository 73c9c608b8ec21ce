//! Answers of AWS IoT, as the published API words them.

use serde_json::{Value, json};

/// Answers to one request: the last level of the topic, and the payload
/// published there.
pub(crate) type Answers = Vec<(&'static str, Value)>;

/// A rejection in the form of the fleet provisioning API.
pub(crate) fn rejected(status: u16, code: &str, message: &str) -> Answers {
    vec![(
        "rejected",
        json!({ "statusCode": status, "errorCode": code, "errorMessage": message }),
    )]
}
