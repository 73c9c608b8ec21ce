//! Running other programs: typed output, time limits, and errors that carry the
//! command line, the status and the end of standard error.

use std::io::{self, Read, Write};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open};
use serde::de::DeserializeOwned;

use crate::log;

/// Longest quotation of standard error in an error, in bytes.
const MAX_QUOTED_BYTES: usize = 600;
/// Output that [`run_within`] keeps of each stream, in bytes; the rest is discarded.
const MAX_OUTPUT_BYTES: usize = 256 * 1024;
/// Longest [`Completed::summary`], in characters.
const MAX_SUMMARY_CHARS: usize = 300;
/// Wait for the end of the output of a program that was stopped.
const LAST_OUTPUT: Duration = Duration::from_secs(1);

/// Runs of a program without a time limit. Secrets must not be among the arguments,
/// because errors quote them.
pub trait CommandExt {
    /// Runs the program to its end. Standard input is empty, standard output is
    /// discarded, standard error is kept for the error.
    ///
    /// # Errors
    /// The program cannot be started, or its status is not 0.
    fn run(&mut self) -> Result<()>;

    /// Runs the program to its end and returns its standard output. Standard input is
    /// empty, standard error is kept for the error.
    ///
    /// # Errors
    /// As [`CommandExt::run`], or the output is not UTF-8.
    fn read(&mut self) -> Result<String>;

    /// Runs the program as [`CommandExt::read`] does and parses its output as JSON;
    /// unknown fields are ignored.
    ///
    /// # Errors
    /// As [`CommandExt::read`], or the output does not match `T`.
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

/// The command line as a person would type it.
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

/// Result of a program that ran with a time limit.
#[derive(Debug)]
pub struct Completed {
    /// Exit status; `None` if the program was stopped at the limit.
    pub status: Option<ExitStatus>,
    /// Standard output, at most 256 KiB.
    pub stdout: String,
    /// Standard error, at most 256 KiB.
    pub stderr: String,
}

impl Completed {
    /// Whether the program ended in time with status 0.
    pub fn success(&self) -> bool {
        self.status.is_some_and(|status| status.success())
    }

    /// Returns both streams, standard output first.
    pub fn output(&self) -> String {
        format!("{}\n{}", self.stdout, self.stderr)
    }

    /// Returns the end of standard error, else of standard output, else the status, on
    /// one line.
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

/// Runs `command` with `input` on its standard input for at most `limit`. After that
/// it gets SIGTERM and, `grace` later, SIGKILL. Output is kept up to 256 KiB a stream.
///
/// # Errors
/// The program cannot be started or watched.
pub fn run_within(
    command: &mut Command,
    input: &str,
    limit: Duration,
    grace: Duration,
) -> Result<Completed> {
    let end = Instant::now() + limit;
    let stdin = if input.is_empty() {
        Stdio::null()
    } else {
        Stdio::piped()
    };
    let mut child = command
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("running {}", command.get_program().to_string_lossy()))?;
    // A thread for each stream: a program that fills one pipe while another is
    // waited for would block for ever.
    let stdout = capture(child.stdout.take());
    let stderr = capture(child.stderr.take());
    if let Some(mut pipe) = child.stdin.take() {
        let input = input.to_string();
        thread::spawn(move || pipe.write_all(input.as_bytes()));
    }
    let in_time = ends_before(&child, end)?;
    if !in_time {
        stop(&mut child, grace)?;
    }
    let status = child.wait().context("waiting for a program")?;
    let end = end.max(Instant::now() + LAST_OUTPUT);
    Ok(Completed {
        status: in_time.then_some(status),
        stdout: stdout.text(end),
        stderr: stderr.text(end),
    })
}

/// Beginning of a stream that is being read.
struct Captured {
    bytes: Arc<Mutex<Vec<u8>>>,
    /// Disconnected at the end of the stream.
    end: Receiver<()>,
}

impl Captured {
    /// Waits for the end of the stream until `end`; a grandchild that inherited it may
    /// hold it open for ever.
    fn text(&self, end: Instant) -> String {
        let left = end.saturating_duration_since(Instant::now());
        let _ = self.end.recv_timeout(left);
        let bytes = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// Reads a stream to its end and keeps its beginning, so that a program which floods
/// it neither blocks nor fills the memory.
fn capture(stream: Option<impl Read + Send + 'static>) -> Captured {
    let bytes = Arc::new(Mutex::new(Vec::new()));
    let (sender, end) = mpsc::channel::<()>();
    let kept = Arc::clone(&bytes);
    thread::spawn(move || {
        let _sender = sender;
        let Some(mut stream) = stream else { return };
        let mut buffer = [0; 8192];
        loop {
            let count = match stream.read(&mut buffer) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Ok(0) | Err(_) => return,
                Ok(count) => count,
            };
            let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
            let room = MAX_OUTPUT_BYTES - kept.len();
            kept.extend_from_slice(&buffer[..count.min(room)]);
        }
    });
    Captured { bytes, end }
}

fn pid(child: &Child) -> Result<Pid> {
    let number = i32::try_from(child.id()).ok();
    number
        .and_then(Pid::from_raw)
        .context("a process without a number")
}

/// Waits for the end of `child` until `end`; returns whether it ended.
fn ends_before(child: &Child, end: Instant) -> Result<bool> {
    // A pidfd becomes readable when the process ends. Polling would waste time, and a
    // handler of SIGCHLD would belong to the whole program.
    let process = pidfd_open(pid(child)?, PidfdFlags::empty()).context("watching a program")?;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        let left = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        match poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&left)) {
            Ok(count) => return Ok(count > 0),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error).context("waiting for a program"),
        }
    }
}

fn stop(child: &mut Child, grace: Duration) -> Result<()> {
    if !grace.is_zero() {
        // The process may end in between; until it is waited for, no other process gets
        // its number.
        let _ = kill_process(pid(child)?, Signal::TERM);
        if ends_before(child, Instant::now() + grace)? {
            return Ok(());
        }
    }
    child.kill().context("ending a program")
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
    fn time_and_output_are_limited() {
        let begun = Instant::now();
        for (script, grace, summary) in [
            ("exec sleep 60", 0, "no answer in time"),
            ("echo one; exec sleep 60", 30, "one"),
            ("trap '' TERM; echo two; sleep 60 & wait; wait", 1, "two"),
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
