//! Error type of this crate: reasons why an image is not verified or a request to the
//! registry failed.

use std::fmt::{self, Write as _};

/// Length limit of a printed error, in characters: part of the text may come from the
/// registry.
const MAX_MESSAGE_CHARS: usize = 600;

/// Reason why an image is not verified, or why a request to the registry failed.
///
/// [`Error::Unsigned`] is final, but after [`Error::Unverifiable`] another attempt can
/// succeed, so programs report them with different exit codes. An error is printed on one
/// line, without control characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// The named image or repository does not exist in the registry.
    NotFound(String),
    /// The image, named by repository and digest, has no signature at all.
    Unsigned(String),
    /// The image has signatures, but none of them is trusted; contains the reason for
    /// each.
    Untrusted(String),
    /// The image has trusted signatures, but none for the requested tag, or app and
    /// version; contains the whole message.
    NotSelected(String),
    /// The image has trusted signatures for several apps or versions, and the request does
    /// not say which one is meant; contains the whole message.
    Ambiguous(String),
    /// The registry rejects the credentials, or requires some and has received none.
    Unauthorized(String),
    /// The registry cannot be reached or does not work, so nothing is known about the
    /// signatures.
    Unverifiable(String),
    /// A manifest, signature, key or name is malformed; contains the whole message.
    Malformed(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::NotFound(name) => format!("{name}: not found in the registry"),
            Self::Unsigned(name) => format!("{name}: no signature"),
            Self::Untrusted(reasons) => format!("no trusted signature: {reasons}"),
            Self::Unauthorized(host) => format!("{host}: wrong or no credentials"),
            Self::Unverifiable(reason) => format!("the registry does not answer: {reason}"),
            Self::Malformed(reason) | Self::NotSelected(reason) | Self::Ambiguous(reason) => {
                reason.clone()
            }
        };
        // The text goes to a terminal and to the journal, where an escape sequence from
        // the registry could move the cursor and a line break could forge a log line of
        // another priority.
        for c in text.trim_end().chars().take(MAX_MESSAGE_CHARS) {
            f.write_char(if unprintable(c) { ' ' } else { c })?;
        }
        Ok(())
    }
}

/// Returns whether `c` is a control, line-separating, zero-width or text-direction
/// character.
fn unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

impl std::error::Error for Error {}

/// Returns the messages of an error and of its sources, joined by `: `.
pub(crate) fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_the_registry_stays_on_its_line() {
        let error = Error::NotFound("a\n<0>b\x1b[2J\u{202e}c\r".into());
        assert_eq!(
            error.to_string(),
            "a <0>b [2J c : not found in the registry"
        );
        let long = Error::Malformed("x".repeat(10_000));
        assert_eq!(long.to_string().len(), MAX_MESSAGE_CHARS);
    }
}
