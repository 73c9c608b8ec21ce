//! Running other programs, with errors that say what was run and what it said.

use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};
use serde::de::DeserializeOwned;

/// How much of a failed program's standard error is quoted, in bytes.
const TAIL: usize = 600;

/// What the tools do with commands. Secrets never stand among the arguments:
/// an error quotes them.
pub trait CommandExt {
    /// Runs to the end. Streams: none in, output dropped, errors kept for the
    /// message.
    ///
    /// # Errors
    /// Not started, or a status other than 0: command line, status and the end
    /// of standard error.
    fn run(&mut self) -> Result<()>;

    /// Runs to the end and gives standard output. Streams: none in, output
    /// returned, errors kept for the message.
    ///
    /// # Errors
    /// As [`CommandExt::run`], and output that is not UTF-8.
    fn read(&mut self) -> Result<String>;

    /// As [`CommandExt::read`], parsed as JSON; unknown fields are ignored.
    ///
    /// # Errors
    /// As [`CommandExt::read`], and output that does not fit `T`.
    fn json<T: DeserializeOwned>(&mut self) -> Result<T>;
}

impl CommandExt for Command {
    fn run(&mut self) -> Result<()> {
        self.stdout(Stdio::null());
        finish(self).map(|_| ())
    }

    fn read(&mut self) -> Result<String> {
        self.stdout(Stdio::piped());
        let output = finish(self)?;
        String::from_utf8(output.stdout)
            .with_context(|| format!("reading output of {}", line(self)))
    }

    fn json<T: DeserializeOwned>(&mut self) -> Result<T> {
        let text = self.read()?;
        serde_json::from_str(&text).with_context(|| format!("parsing output of {}", line(self)))
    }
}

fn finish(command: &mut Command) -> Result<Output> {
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .and_then(std::process::Child::wait_with_output)
        .with_context(|| format!("running {}", line(command)))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{}: {}: {}", line(command), output.status, tail(&said));
    }
    Ok(output)
}

/// The command line as a person would type it.
fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(|w| w.to_string_lossy()).collect();
    words.join(" ")
}

fn tail(text: &str) -> String {
    let text = text.trim();
    let start = text.len().saturating_sub(TAIL);
    let start = (start..=text.len()).find(|i| text.is_char_boundary(*i));
    let words: Vec<_> = text[start.unwrap_or(0)..].lines().map(str::trim).collect();
    words.join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Root;

    fn sh(script: &str) -> Command {
        let mut command = Root::system().command("/bin/sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn reads_and_parses() {
        assert_eq!(sh("echo hi").read().unwrap(), "hi\n");
        assert_eq!(sh("echo [1,2]").json::<Vec<u8>>().unwrap(), [1, 2]);
        sh("cat").run().unwrap();
    }

    #[test]
    fn errors_name_command_status_and_words() {
        let error = sh("echo broken >&2; exit 3").run().unwrap_err().to_string();
        for part in ["/bin/sh -c", "exit status: 3", "broken"] {
            assert!(error.contains(part), "{error}");
        }
        let absent = Root::at("/nonexistent").command("/bin/x").run();
        assert!(format!("{:#}", absent.unwrap_err()).contains("running /nonexistent/bin/x"));
    }

    #[test]
    fn tail_keeps_the_end_on_a_character() {
        let long = "é".repeat(TAIL);
        assert!(tail(&long).len() <= TAIL);
    }
}
