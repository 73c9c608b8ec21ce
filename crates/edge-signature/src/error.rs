//! What can be said of an image and its signature.

use std::fmt;

use oci_distribution::errors::{OciDistributionError, OciErrorCode};

/// Why an image is not verified. "Unsigned" and "cannot tell" are different
/// answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// No such image, or no such repository.
    NotFound(String),
    /// The image bears no signature at all.
    Unsigned(String),
    /// It bears signatures, but none that counts; the reasons.
    Untrusted(String),
    /// The registry wants (other) credentials.
    Unauthorized(String),
    /// The registry cannot be reached or does not work.
    CannotTell(String),
    /// Something is not of the form that it must have.
    Malformed(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound(what) => write!(f, "{what}: not found in the registry"),
            Self::Unsigned(what) => write!(f, "{what}: no signature"),
            Self::Untrusted(why) => write!(f, "no signature that counts: {why}"),
            Self::Unauthorized(host) => write!(f, "{host}: wrong or no credentials"),
            Self::CannotTell(why) => write!(f, "the registry does not answer: {why}"),
            Self::Malformed(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for Error {}

impl Error {
    /// From the registry client's words, asked for `what`.
    pub(crate) fn from_registry(what: &str, error: OciDistributionError) -> Self {
        use OciDistributionError as Oci;
        match error {
            Oci::ImageManifestNotFoundError(_) => Self::NotFound(what.into()),
            Oci::UnauthorizedError { .. } | Oci::AuthenticationFailure(_) => {
                Self::Unauthorized(what.into())
            }
            Oci::ServerError { code: 404, .. } => Self::NotFound(what.into()),
            Oci::ServerError {
                code: 401 | 403, ..
            } => Self::Unauthorized(what.into()),
            Oci::RequestError(ref e)
                if e.status().is_some_and(|s| matches!(s.as_u16(), 401 | 403)) =>
            {
                Self::Unauthorized(what.into())
            }
            Oci::RequestError(ref e) if e.status().is_some_and(|s| s.as_u16() == 404) => {
                Self::NotFound(what.into())
            }
            Oci::DigestError(e) => Self::Malformed(format!("{what}: {e}")),
            Oci::RegistryError { envelope, .. } => {
                let is = |codes: &[OciErrorCode]| {
                    envelope.errors.iter().any(|e| codes.contains(&e.code))
                };
                if is(&[
                    OciErrorCode::ManifestUnknown,
                    OciErrorCode::NameUnknown,
                    OciErrorCode::NotFound,
                    OciErrorCode::BlobUnknown,
                ]) {
                    Self::NotFound(what.into())
                } else if is(&[OciErrorCode::Unauthorized, OciErrorCode::Denied]) {
                    Self::Unauthorized(what.into())
                } else {
                    Self::CannotTell(format!("{what}: {envelope}"))
                }
            }
            other => Self::CannotTell(format!("{what}: {}", causes(&other))),
        }
    }
}

/// An error with its causes, on one line.
fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}
