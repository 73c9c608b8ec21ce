//! Reasons why the engine does not get a stored container, with different consequences.

use std::error::Error;
use std::fmt;
use std::io;

use rustix::io::Errno;

use super::remake::Remake;

/// Reason why the engine does not get a stored container at this start.
pub(super) enum Fault {
    /// The container breaks a rule: it goes to the quarantine.
    Breaks(String),
    /// Something could not be read or mounted, so the container may be intact: it is
    /// withheld, and audited again before the next start of the engine.
    Unreadable(String),
    /// A release set has revoked its image, or the record of what is revoked is damaged: it is
    /// withheld as above, because a later set or a repair permits it again.
    Revoked(String),
    /// The container differs from its signed specification, from which it is recreated.
    Differs(String, Box<Remake>),
}

impl Fault {
    /// Returns the fault of `error`: unreadable if a file, a disk or a mount failed, and
    /// otherwise a broken rule.
    pub(super) fn of(error: &anyhow::Error) -> Self {
        let text = format!("{error:#}");
        match error.chain().any(is_failure) {
            true => Self::Unreadable(text),
            false => Self::Breaks(text),
        }
    }

    /// Returns the fault of an error of the file system while reading `what`.
    pub(super) fn io(what: &str, error: &io::Error) -> Self {
        let text = format!("{what}: {error}");
        match is_failure(error) {
            true => Self::Unreadable(text),
            false => Self::Breaks(text),
        }
    }
}

/// Returns whether an error says that something could not be read, not that it was read
/// and is wrong: a cut file belongs to the first kind, a link in its place to the second.
fn is_failure(cause: &(dyn Error + 'static)) -> bool {
    let is_shape = |code: Errno| [Errno::LOOP, Errno::NOTDIR, Errno::XDEV].contains(&code);
    if let Some(error) = cause.downcast_ref::<io::Error>() {
        return !Errno::from_io_error(error).is_some_and(is_shape)
            && error.kind() != io::ErrorKind::InvalidData;
    }
    if let Some(error) = cause.downcast_ref::<serde_json::Error>() {
        return error.is_eof();
    }
    cause.downcast_ref().is_some_and(|code| !is_shape(*code))
}

impl From<String> for Fault {
    fn from(rule: String) -> Self {
        Self::Breaks(rule)
    }
}

impl From<&str> for Fault {
    fn from(rule: &str) -> Self {
        Self::Breaks(rule.into())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Breaks(text)
            | Self::Unreadable(text)
            | Self::Revoked(text)
            | Self::Differs(text, _) => f.write_str(text),
        }
    }
}

#[cfg(test)]
mod tests {
    use anyhow::{Context as _, anyhow};
    use edge_docker_policy::refusal::refuse;

    use super::*;

    fn is_unreadable(error: anyhow::Error) -> bool {
        matches!(Fault::of(&error), Fault::Unreadable(_))
    }

    #[test]
    fn failures_are_told_from_broken_rules() {
        for code in [5, 13, 2, 28, 30, 116] {
            let error = io::Error::from_raw_os_error(code);
            assert!(is_unreadable(anyhow!(error).context("reading")), "{code}");
        }
        assert!(is_unreadable(anyhow!(Errno::NOSPC).context("cloning")));
        let cut = serde_json::from_str::<serde_json::Value>("{\"a\":");
        assert!(is_unreadable(cut.context("reading").unwrap_err()));
        let other = serde_json::from_str::<serde_json::Value>("{a");
        assert!(!is_unreadable(other.context("reading").unwrap_err()));
        for code in [20, 40] {
            assert!(!is_unreadable(anyhow!(io::Error::from_raw_os_error(code))));
        }
        assert!(!is_unreadable(refuse("mounting / is refused")));
        assert!(!is_unreadable(anyhow!("hosts is a link or no file")));
    }
}
