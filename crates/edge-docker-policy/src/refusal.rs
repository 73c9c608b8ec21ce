//! Refusal of the policy: the rule that a request breaks.
//!
//! A type of its own, because callers tell it from a failure of the engine, the registry
//! or the disk: by its exit code, and as `denied` in the audit log.

use std::fmt;

/// Request that the policy does not permit: the rule, and what to do instead.
#[derive(Debug)]
pub struct Refusal(String);

/// Returns a refusal as an error.
pub fn refuse(rule: impl fmt::Display) -> anyhow::Error {
    anyhow::Error::new(Refusal(rule.to_string()))
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Refusal {}
