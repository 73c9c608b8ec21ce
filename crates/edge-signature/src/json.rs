//! JSON parser whose errors name the position of malformed JSON without quoting it.

use serde::de::DeserializeOwned;

/// Parses `bytes` to a `T`. The error says at which line and column the JSON is truncated
/// or malformed, or which value does not fit `T`.
pub(crate) fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    serde_json::from_slice(bytes).map_err(|error| {
        let kind = match error.classify() {
            serde_json::error::Category::Data => return error.to_string(),
            serde_json::error::Category::Eof => "truncated",
            _ => "not JSON",
        };
        format!("{kind} at line {} column {}", error.line(), error.column())
    })
}
