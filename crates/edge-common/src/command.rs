//! Execution of other programs, with typed output, time limits, and errors that quote
//! the command line, the exit status and the end of standard error.

use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use serde::de::DeserializeOwned;

use crate::log;

/// Length of the end of standard error that an error message quotes, in bytes.
const MAX_QUOTED_BYTES: usize = 600;
/// Number of bytes of each output stream that [`run_within`] keeps; the rest is
/// discarded.
const MAX_OUTPUT_BYTES: usize = 512 * 1024;
/// Length limit of the quoted output in [`Completed::summary`], in characters.
const MAX_SUMMARY_CHARS: usize = 300;
/// Minimum time for reading the remaining output after a program has ended.
const LAST_OUTPUT: Duration = Duration::from_secs(1);
/// Number of bytes that a pipe takes without blocking once `poll` reports room in it, as
/// pipe(7) defines for Linux.
const PIPE_BUF: usize = 4096;

/// Methods that run a program to its end without a time limit. The arguments must not
/// contain secrets, because error messages quote them.
pub trait CommandExt {
    /// Runs the program and waits for its exit. Standard input is empty, standard
    /// output is discarded, and the error of a failed program quotes its standard
    /// error.
    ///
    /// # Errors
    /// The program cannot be started, or its exit status is not 0.
    fn run(&mut self) -> Result<()>;

    /// Runs the program and returns its standard output. Standard input is empty, and
    /// the error of a failed program quotes its standard error.
    ///
    /// # Errors
    /// The program fails as described at [`CommandExt::run`], or its output is not
    /// UTF-8.
    fn read(&mut self) -> Result<String>;

    /// Runs the program as [`CommandExt::read`] does and deserializes its standard
    /// output from JSON.
    ///
    /// # Errors
    /// [`CommandExt::read`] fails, or the output is not JSON that matches `T`.
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
            .with_context(|| format!("reading output of {}", command_line(self)))
    }

    fn json<T: DeserializeOwned>(&mut self) -> Result<T> {
        let text = self.read()?;
        serde_json::from_str(&text)
            .with_context(|| format!("parsing output of {}", command_line(self)))
    }
}

fn finish(command: &mut Command) -> Result<Output> {
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .and_then(Child::wait_with_output)
        .with_context(|| format!("running {}", command_line(command)))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!(
            "{}: {}: {}",
            command_line(command),
            output.status,
            tail(&stderr)
        );
    }
    Ok(output)
}

/// Returns the program and its arguments separated by spaces, for error messages.
fn command_line(command: &Command) -> String {
    let args = std::iter::once(command.get_program()).chain(command.get_args());
    let args: Vec<_> = args.map(|arg| arg.to_string_lossy()).collect();
    args.join(" ")
}

fn tail(text: &str) -> String {
    let text = text.trim();
    let start = text.len().saturating_sub(MAX_QUOTED_BYTES);
    let start = (start..=text.len()).find(|i| text.is_char_boundary(*i));
    let lines: Vec<_> = text[start.unwrap_or(0)..].lines().map(str::trim).collect();
    lines.join("; ")
}

/// Status and output of a program that [`run_within`] ran.
#[derive(Debug)]
pub struct Completed {
    /// Exit status; `None` if the program was stopped at the time limit.
    pub status: Option<ExitStatus>,
    /// Beginning of standard output, at most 512 KiB.
    pub stdout: String,
    /// Beginning of standard error, at most 512 KiB.
    pub stderr: String,
}

impl Completed {
    /// Returns whether the program ended within its time limit with exit status 0.
    pub fn success(&self) -> bool {
        self.status.is_some_and(|status| status.success())
    }

    /// Returns standard output followed by standard error, for searching both at once.
    pub fn output(&self) -> String {
        format!("{}\n{}", self.stdout, self.stderr)
    }

    /// Returns one line for error messages: the end of standard error, or of standard
    /// output if standard error is empty, or else the exit status.
    pub fn summary(&self) -> String {
        let streams = [&self.stderr, &self.stdout].map(|stream| stream.trim());
        let text = streams.into_iter().find(|text| !text.is_empty());
        match (text, self.status) {
            (Some(text), _) => {
                let skip = text.chars().count().saturating_sub(MAX_SUMMARY_CHARS);
                log::printable(&text.chars().skip(skip).collect::<String>())
            }
            (None, Some(status)) => status.to_string(),
            (None, None) => "no answer in time".into(),
        }
    }
}

/// Runs `command` with `input` on its standard input for at most `limit`. A program
/// that is still running then is sent SIGTERM, and SIGKILL after another `grace`; if
/// `grace` is zero, only SIGKILL. The first 512 KiB of each output stream are kept.
///
/// # Errors
/// The program cannot be started, or waiting for its exit failed.
pub fn run_within(
    command: &mut Command,
    input: &str,
    limit: Duration,
    grace: Duration,
) -> Result<Completed> {
    let end = Instant::now() + limit;
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("running {}", command.get_program().to_string_lossy()))?;
    // A pidfd becomes readable when the process exits. Polling at intervals would
    // return late, and a handler of SIGCHLD would affect the whole program.
    let process = pidfd_open(pid(&child)?, PidfdFlags::empty()).context("watching a program")?;
    let mut pipes = Pipes::new(&mut child, input);
    let in_time = pipes.serve(Some(&process), end)?;
    let mut exited = in_time;
    if !exited && !grace.is_zero() {
        // The process may have exited already. Its PID is not reused before `wait`, so
        // the signal cannot reach another process.
        let _ = kill_process(pid(&child)?, Signal::TERM);
        exited = pipes.serve(Some(&process), Instant::now() + grace)?;
    }
    if !exited {
        child.kill().context("ending a program")?;
    }
    let status = child.wait().context("waiting for a program")?;
    pipes.close_input();
    pipes.serve(None, end.max(Instant::now() + LAST_OUTPUT))?;
    let [stdout, stderr] = pipes.kept;
    Ok(Completed {
        status: in_time.then_some(status),
        stdout: String::from_utf8_lossy(&stdout).into_owned(),
        stderr: String::from_utf8_lossy(&stderr).into_owned(),
    })
}

/// Standard stream of a program.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stream {
    Input,
    Output,
    Error,
}

/// Pipes to a running program. One `poll` serves them all, because a thread for each
/// stream would add 30 kB to every device program.
struct Pipes<'a> {
    /// Input that is still to be written.
    input: &'a [u8],
    open: Vec<(Stream, OwnedFd)>,
    /// Beginnings of standard output and standard error.
    kept: [Vec<u8>; 2],
}

impl<'a> Pipes<'a> {
    fn new(child: &mut Child, input: &'a str) -> Self {
        let stdin = child.stdin.take().filter(|_| !input.is_empty());
        let pipes = [
            stdin.map(|pipe| (Stream::Input, pipe.into())),
            child
                .stdout
                .take()
                .map(|pipe| (Stream::Output, pipe.into())),
            child.stderr.take().map(|pipe| (Stream::Error, pipe.into())),
        ];
        Self {
            input: input.as_bytes(),
            open: pipes.into_iter().flatten().collect(),
            kept: [Vec::new(), Vec::new()],
        }
    }

    /// Transfers input and output until `process` exits, or without a process until all
    /// streams have ended, at the latest until `end`: a grandchild process that inherited
    /// a stream may keep it open for ever. Returns whether `process` exited.
    fn serve(&mut self, process: Option<&OwnedFd>, end: Instant) -> Result<bool> {
        loop {
            let event = |stream: Stream| match stream {
                Stream::Input => PollFlags::OUT,
                Stream::Output | Stream::Error => PollFlags::IN,
            };
            let pipes = self.open.iter();
            let mut polled: Vec<_> = pipes
                .map(|(stream, pipe)| PollFd::new(pipe, event(*stream)))
                .chain(process.map(|process| PollFd::new(process, PollFlags::IN)))
                .collect();
            let left = end.saturating_duration_since(Instant::now());
            if polled.is_empty() || !wait_for(&mut polled, left)? {
                return Ok(false);
            }
            let ready = polled.iter().map(|polled| !polled.revents().is_empty());
            let ready: Vec<_> = ready.collect();
            let exited = process.is_some() && ready.last() == Some(&true);
            let open = std::mem::take(&mut self.open);
            for ((stream, pipe), ready) in open.into_iter().zip(ready) {
                if !ready || self.transfer(stream, &pipe) {
                    self.open.push((stream, pipe));
                }
            }
            // A program with endless output keeps its stream ready beyond the limit.
            if exited || left.is_zero() {
                return Ok(exited);
            }
        }
    }

    /// Writes or reads once; returns whether the stream stays open.
    fn transfer(&mut self, stream: Stream, pipe: &OwnedFd) -> bool {
        let kept = match stream {
            Stream::Input => {
                // `poll` promises room for no more than PIPE_BUF; a longer write could block.
                let chunk = &self.input[..self.input.len().min(PIPE_BUF)];
                return match rustix::io::write(pipe, chunk) {
                    Ok(count) => {
                        self.input = &self.input[count..];
                        !self.input.is_empty()
                    }
                    Err(error) => error == Errno::INTR,
                };
            }
            Stream::Output => &mut self.kept[0],
            Stream::Error => &mut self.kept[1],
        };
        let mut buffer = [0; 8192];
        match rustix::io::read(pipe, &mut buffer) {
            Ok(count) => {
                // The rest is read and dropped, so that endless output neither blocks the
                // program nor fills the memory.
                let room = MAX_OUTPUT_BYTES - kept.len();
                kept.extend_from_slice(&buffer[..count.min(room)]);
                count > 0
            }
            Err(error) => error == Errno::INTR,
        }
    }

    /// Ends the input of a program that did not read all of it.
    fn close_input(&mut self) {
        self.open.retain(|(stream, _)| *stream != Stream::Input);
    }
}

/// Waits until a file descriptor is ready, for at most `left`; returns whether one is.
fn wait_for(polled: &mut [PollFd], left: Duration) -> Result<bool> {
    let left = Timespec {
        tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: left.subsec_nanos().into(),
    };
    match poll(polled, Some(&left)) {
        Ok(count) => Ok(count > 0),
        // Nothing is marked ready then, and the caller polls again.
        Err(Errno::INTR) => Ok(true),
        Err(error) => Err(error).context("waiting for a program"),
    }
}

fn pid(child: &Child) -> Result<Pid> {
    let number = i32::try_from(child.id()).ok();
    number
        .and_then(Pid::from_raw)
        .context("a process without a number")
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
    fn errors_name_command_status_and_stderr() {
        let error = sh("echo broken >&2; exit 3").run().unwrap_err().to_string();
        for part in ["/bin/sh -c", "exit status: 3", "broken"] {
            assert!(error.contains(part), "{error}");
        }
        let absent = Root::at("/nonexistent").command("/bin/x").run();
        assert!(format!("{:#}", absent.unwrap_err()).contains("running /nonexistent/bin/x"));
    }

    #[test]
    fn tail_keeps_the_end_on_a_character() {
        let long = "é".repeat(MAX_QUOTED_BYTES);
        assert!(tail(&long).len() <= MAX_QUOTED_BYTES);
    }

    #[test]
    fn within_the_limit_streams_and_status_are_returned() {
        let minute = Duration::from_secs(60);
        let script = "cat; echo no >&2; exit 3";
        let completed = run_within(&mut sh(script), "in", minute, minute).unwrap();
        let Completed { stdout, stderr, .. } = &completed;
        assert_eq!((stdout.as_str(), stderr.as_str()), ("in", "no\n"));
        assert_eq!(completed.status.unwrap().code(), Some(3));
        assert!(!completed.success() && completed.summary() == "no");
        let mut absent = Root::at("/nonexistent").command("/x");
        assert!(run_within(&mut absent, "", Duration::ZERO, Duration::ZERO).is_err());
    }

    #[test]
    fn input_larger_than_a_pipe_blocks_neither_side() {
        let minute = Duration::from_secs(60);
        let input = "x".repeat(1 << 20);
        for (script, length) in [("cat", MAX_OUTPUT_BYTES), ("exit 0", 0)] {
            let completed = run_within(&mut sh(script), &input, minute, minute).unwrap();
            assert!(completed.success(), "{script}: {}", completed.summary());
            assert_eq!(completed.stdout.len(), length, "{script}");
        }
    }

    #[test]
    fn time_and_output_are_limited() {
        let begun = Instant::now();
        for (script, grace, summary) in [
            ("exec sleep 60", 0, "no answer in time"),
            ("echo one; exec sleep 60", 30, "one"),
            ("trap '' TERM; echo two; sleep 3 & wait; wait", 1, "two"),
        ] {
            let limit = Duration::from_millis(200);
            let grace = Duration::from_secs(grace);
            let completed = run_within(&mut sh(script), "", limit, grace).unwrap();
            assert!(completed.status.is_none());
            assert_eq!(completed.summary(), summary);
        }
        assert!(begun.elapsed() < Duration::from_secs(25));
        let flood = "head -c 5000000 /dev/zero | tr '\\0' x";
        let minute = Duration::from_secs(60);
        let completed = run_within(&mut sh(flood), "", minute, minute).unwrap();
        assert!(completed.success() && completed.stdout.len() == MAX_OUTPUT_BYTES);
    }
}
