//! Exit codes of the tools: 0 done, 1 failed, 2 wrong usage, and further codes that a
//! tool documents and attaches to its errors with [`Failure`].

use std::fmt;
use std::process::{ExitCode, Termination};

use anyhow::Result;

#[cfg(feature = "system")]
use crate::contract::exit_code::NEEDS_ROOT;
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

/// Converts an error to one that says "run as root" and has the exit code
/// [`NEEDS_ROOT`], if a file or the kernel denied an unprivileged user something.
/// Otherwise a status command would call unreadable what is sound, and absent what is there.
#[cfg(feature = "system")]
pub fn denied(error: anyhow::Error) -> anyhow::Error {
    let is_ours = error.downcast_ref::<Failure>().is_some();
    match !is_ours && is_denied(&error) && !rustix::process::geteuid().is_root() {
        true => Failure::error(
            NEEDS_ROOT,
            format_args!("cannot be read: run as root ({error:#})"),
        ),
        false => error,
    }
}

/// Fails with [`NEEDS_ROOT`] if this user may not write below a directory of the state,
/// and so may not read all of it.
#[cfg(feature = "system")]
pub fn denied_access(directory: &std::path::Path) -> Result<()> {
    use rustix::fs::{Access, access};
    use rustix::io::Errno;
    match access(directory, Access::WRITE_OK) {
        Err(error @ (Errno::ACCESS | Errno::PERM)) => {
            let error = anyhow::Error::from(error);
            Err(denied(
                error.context(format!("opening {}", directory.display())),
            ))
        }
        _ => Ok(()),
    }
}

/// Returns whether the cause of an error is that a file or the kernel denied something.
#[cfg(feature = "system")]
pub fn is_denied(error: &anyhow::Error) -> bool {
    use std::io;
    error.chain().any(|cause| {
        let file = cause.downcast_ref::<io::Error>();
        let call = cause.downcast_ref::<rustix::io::Errno>();
        file.is_some_and(|e| e.kind() == io::ErrorKind::PermissionDenied)
            || call
                .is_some_and(|e| matches!(*e, rustix::io::Errno::ACCESS | rustix::io::Errno::PERM))
    })
}

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
