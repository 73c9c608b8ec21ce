//! References to release sets: repository, digest, name and number.

use crate::converge::Desired;

/// Length limit of a repository.
const MAX_REPOSITORY: usize = 255;
/// Length limit of the name of a set.
const MAX_NAME: usize = 64;
/// Limit of a number: JSON readers keep integers below it exactly.
const MAX_NUMBER: u64 = 1 << 53;

/// Returns the set that `REPOSITORY@sha256:HEX` with a name and a number demands.
///
/// # Errors
/// A part has another form; the error names it.
pub fn desired(set: &str, name: &str, number: u64) -> Result<Desired, String> {
    let (repository, digest) = split(set)?;
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
    if !(1..=MAX_NAME).contains(&name.len()) || !name.bytes().all(plain) || name.starts_with('-') {
        return Err("the name of the set is not [a-z0-9-]{1,64}".into());
    }
    if !(1..MAX_NUMBER).contains(&number) {
        return Err(format!(
            "the number {number} of the set is not between 1 and 2^53"
        ));
    }
    Ok(Desired {
        set: digest.into(),
        repository: repository.into(),
        name: name.into(),
        number,
    })
}

/// Splits `REPOSITORY@sha256:HEX`; the digest is returned with `sha256:`.
///
/// # Errors
/// The text has another form.
pub fn split(set: &str) -> Result<(&str, &str), String> {
    let parts = set.split_once('@').filter(|(repository, digest)| {
        let allowed = |b: u8| b.is_ascii_alphanumeric() || b"._:/-".contains(&b);
        let starts = repository.starts_with(|c: char| c.is_ascii_alphanumeric());
        starts
            && repository.len() <= MAX_REPOSITORY
            && repository.bytes().all(allowed)
            && is_digest(digest)
    });
    parts.ok_or_else(|| "the set is not of the form REPOSITORY@sha256:HEX".into())
}

/// Returns whether a text is `sha256:` and 64 lower-case hexadecimal digits.
pub fn is_digest(text: &str) -> bool {
    let hex = text.strip_prefix("sha256:").unwrap_or_default();
    hex.len() == 64
        && hex
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b))
}
