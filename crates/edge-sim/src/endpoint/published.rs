//! Rejections that AWS publishes for `CreateCertificateFromCsr`, `RegisterThing`, device
//! shadows and jobs, with their status codes. See
//! <https://docs.aws.amazon.com/iot/latest/apireference/API_RegisterThing.html>,
//! <https://docs.aws.amazon.com/iot/latest/apireference/CommonErrors.html> and
//! <https://docs.aws.amazon.com/iot/latest/developerguide/device-shadow-error-messages.html>.

/// Status and error code of rejections by fleet provisioning. One code may occur with
/// several status codes.
pub const PROVISIONING: &[(u16, &str)] = &[
    (400, "ThrottlingException"),
    (429, "ThrottlingException"),
    (400, "Throttling"),
    (429, "TooManyRequestsException"),
    (400, "LimitExceededException"),
    (500, "InternalFailureException"),
    (500, "InternalFailure"),
    (500, "InternalServerError"),
    (503, "ServiceUnavailableException"),
    (503, "ServiceUnavailable"),
    (408, "RequestTimeoutException"),
    (400, "RequestAbortedException"),
    (409, "ConflictingResourceUpdateException"),
    (400, "InvalidCertificateOwnershipToken"),
    (401, "UnauthorizedException"),
    (403, "AccessDenied"),
    (403, "AccessDeniedException"),
    (400, "NotAuthorized"),
    (403, "ExpiredTokenException"),
    (403, "IncompleteSignature"),
    (403, "OptInRequired"),
    (400, "RequestExpired"),
    (403, "UnrecognizedClientException"),
    (400, "InvalidRequestException"),
    (400, "InvalidParameters"),
    (400, "InvalidCertificateSigningRequest"),
    (400, "ResourceRegistrationFailureException"),
    (404, "ResourceNotFoundException"),
    (404, "UnknownOperationException"),
    (400, "MalformedHttpRequestException"),
    (413, "RequestEntityTooLargeException"),
    (400, "ValidationError"),
];

/// Status codes of rejections by device shadows.
pub const SHADOW: &[u16] = &[400, 401, 403, 404, 409, 413, 415, 429, 500];

/// Codes of rejections by jobs.
pub const JOBS: &[&str] = &[
    "InvalidTopic",
    "InvalidJson",
    "InvalidRequest",
    "InvalidStateTransition",
    "ResourceNotFound",
    "VersionMismatch",
    "InternalError",
    "RequestThrottled",
    "TerminalStateReached",
];

/// Returns the entry of [`PROVISIONING`] with this status and code.
pub(crate) fn provisioning(status: u16, code: &str) -> Option<(u16, &'static str)> {
    let mut entries = PROVISIONING.iter().copied();
    entries.find(|entry| *entry == (status, code))
}
