//! Answers of AWS IoT, with the topics and fields of the published API.

use serde_json::{Value, json};

/// Answers to one request: the last topic level, for example `accepted`, and the
/// payload to publish on this topic.
pub(crate) type Answers = Vec<(&'static str, Value)>;

/// Returns a rejection in the form of the fleet provisioning API.
pub(crate) fn rejected(status: u16, code: &str, message: &str) -> Answers {
    vec![(
        "rejected",
        json!({ "statusCode": status, "errorCode": code, "errorMessage": message }),
    )]
}
