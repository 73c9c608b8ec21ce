//! Exit codes of the tools: 0 done, 1 failed, 2 wrong usage, and further codes that a
//! tool documents and attaches to its errors with [`Failure`].

use std::fmt;
use std::process::{ExitCode, Termination};

use anyhow::Result;

use crate::log;

/// Error with an exit code, so that callers of the program can distinguish failures.
#[derive(Debug)]
pub struct Failure {
    code: u8,
    message: String,
}

impl Failure {
    /// Creates an error that ends the program with the exit code `code`.
    pub fn error(code: u8, message: impl fmt::Display) -> anyhow::Error {
        let message = message.to_string();
        anyhow::Error::new(Self { code, message })
    }

    /// Converts `error` and its causes to a [`Failure`] with the exit code `code`. An
    /// error that already has an exit code is returned unchanged.
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

/// Returns the exit code of the [`Failure`] in the chain of `error`, or 1 without one.
pub fn code_of(error: &anyhow::Error) -> u8 {
    error.downcast_ref::<Failure>().map_or(1, |f| f.code)
}

/// Converts the result of a program to its exit code, and logs an error together with
/// its causes.
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
