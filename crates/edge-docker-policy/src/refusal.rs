//! Error type for requests that the policy refuses.
//!
//! It is separate from other errors because callers distinguish a refusal from a failure
//! of the engine, the registry or the disk, for example as `denied` or `failed` in the
//! audit log.

use std::fmt;

/// Error for a request that the policy does not permit; the text names the rule and,
/// where possible, what to do instead.
#[derive(Debug)]
pub struct Refusal(String);

impl Refusal {
    /// Returns the refusal with the text `rule`, for the context of another error.
    pub fn new(rule: impl fmt::Display) -> Self {
        Self(rule.to_string())
    }
}

/// Returns an error of type [`Refusal`] with the text `rule`.
pub fn refuse(rule: impl fmt::Display) -> anyhow::Error {
    anyhow::Error::new(Refusal::new(rule))
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refusal {}
