//! Reasons for which a device refuses a release set.

use std::fmt;

use crate::error::Error;

/// Kind of a refusal, which edge-docker prints and the fleet reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// Not signed by the required number of trusted keys.
    Signature,
    /// Number below the highest that this device has committed.
    Floor,
    /// Time for taking the set is over.
    Expired,
    /// None of the patterns fits the device's thing name.
    NotFor,
    /// Not a release set in its canonical form.
    Form,
    /// An app of the set has a revoked digest.
    Revoked,
}

impl Reason {
    /// Returns the word in the JSON output of `edge-docker set` and in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Signature => "signature",
            Self::Floor => "floor",
            Self::Expired => "expired",
            Self::NotFor => "not-for",
            Self::Form => "form",
            Self::Revoked => "revoked",
        }
    }
}

/// Refusal of a release set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetRefusal {
    /// Kind of the refusal.
    pub reason: Reason,
    /// Message for people.
    pub message: String,
}

impl SetRefusal {
    /// Creates a refusal.
    pub fn new(reason: Reason, message: impl fmt::Display) -> Self {
        let message = message.to_string();
        Self { reason, message }
    }

    /// Returns the refusal that an error of a verification stands for; `None` if the registry
    /// does not answer, or has no such set.
    pub fn of(error: &Error) -> Option<Self> {
        let reason = match error {
            Error::Unsigned(_) | Error::Untrusted(_) => Reason::Signature,
            Error::Malformed(_) | Error::NotSelected(_) | Error::Ambiguous(_) => Reason::Form,
            Error::NotFound(_) | Error::Unauthorized(_) | Error::Unverifiable(_) => return None,
        };
        Some(Self::new(reason, error))
    }
}

impl fmt::Display for SetRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for SetRefusal {}
