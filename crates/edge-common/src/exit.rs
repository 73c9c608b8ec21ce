//! Exit codes of the tools: 0 done, 1 failed, 2 wrong usage, and further ones that a
//! tool documents and attaches to its errors with [`Failure`].

use std::fmt;
use std::process::{ExitCode, Termination};

use anyhow::Result;

use crate::log;

/// Failure with an exit code that callers tell apart.
#[derive(Debug)]
pub struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    /// Creates an error with an exit code and a message.
    pub fn error(code: u8, message: impl fmt::Display) -> anyhow::Error {
        let message = message.to_string();
        anyhow::Error::new(Self { code, message })
    }

    /// Attaches the exit code `code` to `error` and its causes. An error that already
    /// has a code keeps it.
    pub fn wrap(code: u8, error: anyhow::Error) -> anyhow::Error {
        if error.downcast_ref::<Self>().is_some() {
            return error;
        }
        Self::error(code, format_args!("{error:#}"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// Returns the exit code of a [`Failure`] in the chain of `error`, else 1.
pub fn code_of(error: &anyhow::Error) -> u8 {
    error.downcast_ref::<Failure>().map_or(1, |f| f.code)
}

/// Ends a tool: logs an error once, with its causes, and returns the exit code.
pub fn finish(result: Result<impl Termination>) -> ExitCode {
    match result {
        Ok(done) => done.report(),
        Err(error) => {
            log::error(format_args!("{error:#}"));
            ExitCode::from(code_of(&error))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::Context;

    #[test]
    fn codes_survive_context() {
        let plain = anyhow::anyhow!("x");
        assert_eq!(code_of(&plain), 1);
        let coded = Err::<(), _>(Failure::error(4, "no clock")).context("provisioning");
        let error = coded.unwrap_err();
        assert_eq!(code_of(&error), 4);
        assert_eq!(format!("{error:#}"), "provisioning: no clock");
        assert_eq!(code_of(&Failure::wrap(9, error)), 4);
    }
}
