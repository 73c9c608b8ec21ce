//! Reasons why an image is not verified.

use std::fmt::{self, Write as _};

/// Length of a message, in characters: part of it may come from the registry.
const MAX_MESSAGE_CHARS: usize = 600;

/// Reason why an image is not verified, or why the registry does not do what it should.
///
/// [`Error::Unsigned`] and [`Error::Unverifiable`] are different answers with different exit
/// codes: the first is final, the second asks for another attempt. Printed on one line, without
/// control characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// The image or the repository does not exist.
    NotFound(String),
    /// The image has no signature at all.
    Unsigned(String),
    /// The image has signatures, none of them trusted; with the reason for each.
    Untrusted(String),
    /// The registry requires credentials, or other ones.
    Unauthorized(String),
    /// The registry cannot be reached or does not work.
    Unverifiable(String),
    /// A manifest, signature, key or name is malformed.
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
            Self::Malformed(reason) => reason.clone(),
        };
        // The text goes to a terminal and to the journal: an escape sequence from the registry
        // could move the cursor, a line break could forge a log line of another priority.
        for c in text.trim_end().chars().take(MAX_MESSAGE_CHARS) {
            f.write_char(if unprintable(c) { ' ' } else { c })?;
        }
        Ok(())
    }
}

/// Returns whether `c` moves the cursor, ends a line or changes the direction of writing.
fn unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

impl std::error::Error for Error {}

/// Returns an error with its causes, on one line.
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
