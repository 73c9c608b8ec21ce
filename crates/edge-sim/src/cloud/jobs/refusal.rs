//! Refusals of the two planes of AWS IoT Jobs, with their published codes.

/// Reason why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    /// The request or one of its fields is invalid.
    InvalidRequest,
    /// The payload is not JSON.
    InvalidJson,
    /// The job, execution, thing or group does not exist.
    NotFound,
    /// The job exists already.
    AlreadyExists,
    /// A quota of the account is exhausted.
    LimitExceeded,
    /// The present status permits no such change.
    InvalidStateTransition,
    /// The execution has another version than the request expects.
    VersionMismatch,
    /// The execution is final and can no longer be read.
    TerminalStateReached,
    /// Requests come faster than the quota permits.
    Throttled,
}

/// Refused request: its code and a message for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// Reason of the refusal.
    pub code: Code,
    /// Message for a person.
    pub message: String,
}

impl Refusal {
    /// Creates a refusal.
    pub(super) fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// Creates the refusal of an invalid request.
    pub(super) fn invalid(message: impl Into<String>) -> Self {
        Self::new(Code::InvalidRequest, message)
    }

    /// Creates the refusal of a request for an absent resource.
    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self::new(Code::NotFound, message)
    }
}

/// Result of a request.
pub(super) type Outcome<T> = Result<T, Refusal>;

impl Code {
    /// Returns the code in a rejection over MQTT.
    pub(super) fn over_mqtt(self) -> &'static str {
        match self {
            Self::InvalidRequest | Self::AlreadyExists | Self::LimitExceeded => "InvalidRequest",
            Self::InvalidJson => "InvalidJson",
            Self::NotFound => "ResourceNotFound",
            Self::InvalidStateTransition => "InvalidStateTransition",
            Self::VersionMismatch => "VersionMismatch",
            Self::TerminalStateReached => "TerminalStateReached",
            Self::Throttled => "RequestThrottled",
        }
    }

    /// Returns the status and the error type of a response over HTTPS.
    pub(super) fn over_https(self) -> (u16, &'static str) {
        match self {
            Self::InvalidRequest | Self::InvalidJson => (400, "InvalidRequestException"),
            Self::NotFound => (404, "ResourceNotFoundException"),
            Self::AlreadyExists => (409, "ResourceAlreadyExistsException"),
            Self::LimitExceeded => (410, "LimitExceededException"),
            Self::InvalidStateTransition | Self::TerminalStateReached => {
                (409, "InvalidStateTransitionException")
            }
            Self::VersionMismatch => (409, "VersionConflictException"),
            Self::Throttled => (400, "ThrottlingException"),
        }
    }
}
