//! Classification of the rejections of fleet provisioning by their error code.
//!
//! The status code is not sufficient: AWS throttles with 400, answers 403 if the
//! pre-provisioning hook timed out, and rejects an ownership token with 400.

use edge_common::log::printable;
use serde_json::Value;

use crate::error::AttemptError;

/// Length limit of a message of the cloud that an error quotes, in characters.
const MAX_QUOTED_CHARS: usize = 300;
/// Error code of an ownership token that has expired or was used for another thing.
const EXPIRED_TOKEN: &str = "InvalidCertificateOwnershipToken";
/// Error codes of conditions that pass by themselves, without the suffix `Exception`.
const PASSING: [&str; 15] = [
    "Throttling",
    "Throttled",
    "RequestThrottled",
    "TooManyRequests",
    "LimitExceeded",
    "RequestLimitExceeded",
    "InternalFailure",
    "InternalError",
    "InternalServerError",
    "InternalServiceError",
    "ServiceUnavailable",
    "RequestTimeout",
    "RequestAborted",
    "ConflictingResourceUpdate",
    "Conflict",
];
/// Error codes of a device that is not admitted, without the suffix `Exception`.
const DENIALS: [&str; 5] = [
    "AccessDenied",
    "Unauthorized",
    "NotAuthorized",
    "Forbidden",
    "UnrecognizedClient",
];

/// Converts a rejection, `{"statusCode": …, "errorCode": …, "errorMessage": …}`, to an
/// error. A code that is not known is classified by the status.
pub(crate) fn classify(answer: &Value) -> AttemptError {
    let status = answer["statusCode"].as_u64().unwrap_or(0);
    let code = answer["errorCode"].as_str().unwrap_or("without a code");
    let message = answer["errorMessage"]
        .as_str()
        .unwrap_or("without a message");
    let short: String = printable(message).chars().take(MAX_QUOTED_CHARS).collect();
    let error = format!(
        "the cloud rejected the request: {} ({status}): {short}",
        printable(code)
            .chars()
            .take(MAX_QUOTED_CHARS)
            .collect::<String>()
    );
    let code = code.strip_suffix("Exception").unwrap_or(code);
    if code == EXPIRED_TOKEN {
        return AttemptError::ExpiredToken;
    }
    if PASSING.contains(&code) {
        return AttemptError::Transient(error);
    }
    if DENIALS.contains(&code) {
        return AttemptError::Denied(error);
    }
    match status {
        401 | 403 => AttemptError::Denied(error),
        408 | 409 | 425 | 429 => AttemptError::Transient(error),
        400..=499 => AttemptError::Rejected(error),
        _ => AttemptError::Transient(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn kind(status: u64, code: &str) -> &'static str {
        let answer = json!({"statusCode": status, "errorCode": code, "errorMessage": "x"});
        match classify(&answer) {
            AttemptError::Transient(_) => "passing",
            AttemptError::Denied(_) => "denied",
            AttemptError::Rejected(_) => "rejected",
            AttemptError::ExpiredToken => "token",
            _ => "other",
        }
    }

    #[test]
    fn the_code_decides_before_the_status() {
        for (status, code, expected) in [
            (400, "ThrottlingException", "passing"),
            (403, "Throttling", "passing"),
            (429, "TooManyRequests", "passing"),
            (409, "ConflictingResourceUpdateException", "passing"),
            (400, "ServiceUnavailable", "passing"),
            (400, "AccessDenied", "denied"),
            (401, "UnauthorizedException", "denied"),
            (400, EXPIRED_TOKEN, "token"),
            (403, EXPIRED_TOKEN, "token"),
        ] {
            assert_eq!(kind(status, code), expected, "{status} {code}");
        }
    }

    #[test]
    fn unknown_codes_are_classified_by_the_status() {
        for (status, expected) in [
            (400, "rejected"),
            (403, "denied"),
            (404, "rejected"),
            (408, "passing"),
            (429, "passing"),
            (500, "passing"),
            (599, "passing"),
            (0, "passing"),
        ] {
            assert_eq!(kind(status, "Unknown"), expected, "{status}");
        }
        assert!(matches!(classify(&json!([])), AttemptError::Transient(_)));
    }

    #[test]
    fn quoted_text_is_short_and_without_control_characters() {
        let long = "a\nb\u{1b}[2J".repeat(1000);
        let answer = json!({"statusCode": 403, "errorCode": long, "errorMessage": long});
        let text = classify(&answer).to_string();
        assert!(
            !text.contains(['\u{1b}', '\n']) && text.len() < 800,
            "{text}"
        );
    }
}
