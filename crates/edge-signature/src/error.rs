//! What can be said of an image and its signature.

use std::fmt::{self, Write as _};

/// Longest message, in characters: part of it comes from elsewhere.
const LONGEST: usize = 600;

/// Why an image is not verified. "Unsigned" and "cannot tell" are different
/// answers. Printed on one line, without control characters.
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
        let text = match self {
            Self::NotFound(what) => format!("{what}: not found in the registry"),
            Self::Unsigned(what) => format!("{what}: no signature"),
            Self::Untrusted(why) => format!("no signature that counts: {why}"),
            Self::Unauthorized(host) => format!("{host}: wrong or no credentials"),
            Self::CannotTell(why) => format!("the registry does not answer: {why}"),
            Self::Malformed(why) => why.clone(),
        };
        for c in text.trim_end().chars().take(LONGEST) {
            f.write_char(if unprintable(c) { ' ' } else { c })?;
        }
        Ok(())
    }
}

/// Moves a cursor, ends a line, or turns the direction of writing.
fn unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

impl std::error::Error for Error {}

/// An error with its causes, on one line.
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
    fn words_from_elsewhere_stay_on_their_line() {
        let error = Error::NotFound("a\n<0>b\x1b[2J\u{202e}c\r".into());
        assert_eq!(
            error.to_string(),
            "a <0>b [2J c : not found in the registry"
        );
        let long = Error::Malformed("x".repeat(10_000));
        assert_eq!(long.to_string().len(), LONGEST);
    }
}
