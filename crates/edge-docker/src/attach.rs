//! `run` without `-d`: the container's streams, the signals and the terminal's
//! size on their way to it, and its exit code, as docker's client does it.
//! Protocol: <https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Container/operation/ContainerAttach>.

use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, IsTerminal as _, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use edge_common::Root;
use edge_common::exit::Failure;
use edge_common::log::printable;
use hyper::Method;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use serde_json::Value;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::{REFUSED, containers, engine, refuse};

/// Exit code: there is no such command in the image.
const NOT_FOUND: u8 = 127;
/// Exit code: the command cannot be run.
const NOT_RUNNABLE: u8 = 126;
/// Bytes that are handed on at once.
const CHUNK: usize = 32 * 1024;
/// Ctrl-P, Ctrl-Q: leaves the container running.
const DETACH: [u8; 2] = [0x10, 0x11];
/// Signals that the container gets, by the name that the engine takes.
const SIGNALS: [(SignalKind, &str); 7] = [
    (SignalKind::hangup(), "SIGHUP"),
    (SignalKind::interrupt(), "SIGINT"),
    (SignalKind::quit(), "SIGQUIT"),
    (SignalKind::user_defined1(), "SIGUSR1"),
    (SignalKind::user_defined2(), "SIGUSR2"),
    (SignalKind::alarm(), "SIGALRM"),
    (SignalKind::terminate(), "SIGTERM"),
];

/// What of a container is handed on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Streams {
    /// Our standard input, until it ends.
    pub stdin: bool,
    /// What it prints.
    pub stdout: bool,
    /// What it complains of.
    pub stderr: bool,
    /// All of that is one terminal.
    pub tty: bool,
    /// Signals to us are for the container.
    pub signals: bool,
}

impl Streams {
    /// Takes the one that `-a` names; false if there is none of that name.
    pub fn take(&mut self, name: &str) -> bool {
        let stream = match name.to_ascii_lowercase().as_str() {
            "stdin" => &mut self.stdin,
            "stdout" => &mut self.stdout,
            "stderr" => &mut self.stderr,
            _ => return false,
        };
        *stream = true;
        true
    }

    fn query(&self) -> String {
        let streams = [
            ("stdin", self.stdin),
            ("stdout", self.stdout),
            ("stderr", self.stderr),
        ];
        let wanted = streams.iter().filter(|(_, wanted)| *wanted);
        wanted.fold("stream=1".into(), |query, (name, _)| {
            format!("{query}&{name}=1")
        })
    }
}

/// What happens while it runs.
enum Event {
    /// No more output, or it cannot be handed on.
    Output(io::Result<()>),
    /// Somebody typed the keys for that.
    Detached,
    /// The engine's word on its end.
    Exited(Result<Value>),
    /// Ours, by number in [`SIGNALS`].
    Signal(usize),
    /// The terminal has another size.
    Resized,
}

/// Starts the container `id`, which is not to outlive its end if `removed`, and
/// gives its exit code once it has ended, or 0 when somebody detached from it.
///
/// # Errors
/// It does not start (125 to 127, as docker), no terminal, or the engine's.
pub async fn run(root: &Root, id: &str, streams: Streams, removed: bool) -> Result<ExitCode> {
    let terminal = streams.tty && streams.stdin;
    if terminal && !io::stdin().is_terminal() {
        containers::remove(root, id).await?;
        bail!("the input device is not a TTY: drop -t to feed it from a pipe or file");
    }
    let (sender, events) = unbounded_channel();
    let path = format!("/containers/{id}/attach?{}", streams.query());
    let (stream, arrived) = engine::attach(root, &path).await?;
    // Before it is started: it may be over at once.
    let condition = if removed { "removed" } else { "next-exit" };
    let path = format!("/containers/{id}/wait?condition={condition}");
    let end = engine::wait(root, &path).await?;
    let exited = sender.clone();
    tokio::spawn(async move { exited.send(Event::Exited(end.await)).ok() });
    listen(&sender, streams.tty)?;

    let stream = Arc::new(stream);
    let (output, printed) = (Arc::clone(&stream), sender.clone());
    std::thread::spawn(move || {
        let both = io::Cursor::new(arrived).chain(&*output);
        let both = BufReader::with_capacity(CHUNK, both);
        printed.send(Event::Output(hand_on(both, streams.tty))).ok()
    });
    // Before it prints: what is typed then is echoed by the container alone.
    let _raw = terminal.then(Raw::set).transpose()?;
    start(root, id).await?;
    if streams.tty {
        resize(root, id).await;
    }
    if streams.stdin {
        std::thread::spawn(move || match feed(&stream, streams.tty) {
            Ok(Fed::Detached) => sender.send(Event::Detached).ok(),
            // Whether the container listened to the end is its own affair.
            Ok(Fed::All) | Err(_) => None,
        });
    }
    follow(root, id, streams, events).await
}

/// Starts it. The engine's words tell what docker's exit codes tell.
///
/// # Errors
/// It does not start.
pub async fn start(root: &Root, id: &str) -> Result<()> {
    containers::start(root, id).await.map_err(|error| {
        let said = error.to_string();
        let tells = |words: [&str; 2]| words.iter().any(|w| said.contains(w));
        if tells(["executable file not found", "no such file or directory"]) {
            return Failure::error(NOT_FOUND, said);
        }
        if tells(["permission denied", "is a directory"]) {
            return Failure::error(NOT_RUNNABLE, said);
        }
        error
    })
}

/// Until it has ended and all that it printed is handed on.
async fn follow(
    root: &Root,
    id: &str,
    streams: Streams,
    mut events: UnboundedReceiver<Event>,
) -> Result<ExitCode> {
    let (mut code, mut printed) = (None, false);
    loop {
        if let (Some(code), true) = (code, printed) {
            return Ok(code);
        }
        match events.recv().await.context("waiting for the container")? {
            Event::Output(Ok(())) => printed = true,
            Event::Output(Err(error)) if error.kind() == ErrorKind::BrokenPipe => {
                return Ok((128 + 13).into());
            }
            Event::Output(Err(error)) => {
                return Err(error).context("handing on what the container prints");
            }
            Event::Exited(said) => {
                let said = said.map_err(|e| Failure::wrap(REFUSED, e))?;
                code = Some(exit_code(&said)?);
            }
            Event::Detached => return Ok(ExitCode::SUCCESS),
            Event::Resized => resize(root, id).await,
            Event::Signal(number) => {
                let (kind, name) = SIGNALS[number];
                if streams.tty || !streams.signals {
                    let code = 128 + kind.as_raw_value();
                    return Ok(u8::try_from(code).unwrap_or(u8::MAX).into());
                }
                let path = format!("/containers/{id}/kill?signal={name}");
                // It may just have ended.
                let _ = engine::ask(root, Method::POST, &path, None).await;
            }
        }
    }
}

fn exit_code(said: &Value) -> Result<ExitCode> {
    if let Some(error) = said["Error"]["Message"].as_str().filter(|e| !e.is_empty()) {
        let error = printable(error);
        return Err(refuse(format_args!("the engine says: {error}")));
    }
    let code = said["StatusCode"].as_u64();
    let code = code.context("the engine's answer has no exit code")?;
    Ok(u8::try_from(code).unwrap_or(u8::MAX).into())
}

/// From now on signals come as events.
fn listen(sender: &UnboundedSender<Event>, tty: bool) -> Result<()> {
    let report = |kind, event: fn(usize) -> Event, number| -> Result<()> {
        let mut signal = signal(kind).context("noticing signals")?;
        let sender = sender.clone();
        tokio::spawn(async move {
            while signal.recv().await.is_some() && sender.send(event(number)).is_ok() {}
        });
        Ok(())
    };
    for (number, (kind, _)) in SIGNALS.into_iter().enumerate() {
        report(kind, Event::Signal, number)?;
    }
    if tty {
        report(SignalKind::window_change(), |_| Event::Resized, 0)?;
    }
    Ok(())
}

/// Tells the engine how large our terminal is, if there is one.
async fn resize(root: &Root, id: &str) {
    if let Ok(size) = tcgetwinsize(io::stdout()) {
        let (rows, columns) = (size.ws_row, size.ws_col);
        let path = format!("/containers/{id}/resize?h={rows}&w={columns}");
        // It may just have ended.
        let _ = engine::ask(root, Method::POST, &path, None).await;
    }
}

/// The terminal hands on each key as it is, until this is dropped.
struct Raw(Termios);

impl Raw {
    fn set() -> Result<Self> {
        let context = "setting up the terminal";
        let before = tcgetattr(io::stdin()).context(context)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(io::stdin(), OptionalActions::Now, &raw).context(context)?;
        Ok(Self(before))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        let _ = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}

/// The file behind one of our streams, without a buffer.
fn unbuffered(stream: BorrowedFd) -> io::Result<File> {
    stream.try_clone_to_owned().map(File::from)
}

/// Prints what the container prints. Without a terminal it comes in frames:
/// which stream, three zeros, the length in four bytes, the largest first.
fn hand_on(from: impl BufRead, tty: bool) -> io::Result<()> {
    let stdout = unbuffered(io::stdout().as_fd())?;
    let stderr = unbuffered(io::stderr().as_fd())?;
    copy(from, tty, stdout, stderr)
}

fn copy(
    mut from: impl BufRead,
    tty: bool,
    mut stdout: impl Write,
    mut stderr: impl Write,
) -> io::Result<()> {
    if tty {
        return pass(&mut from, u64::MAX, &mut stdout);
    }
    loop {
        let mut head = [0; 8];
        match from.read_exact(&mut head) {
            Ok(()) => {}
            // The engine hung up; how it ended, the exit code tells.
            Err(error) if over(&error) => return Ok(()),
            Err(error) => return Err(error),
        }
        let [kind, 0, 0, 0, a, b, c, d] = head else {
            return Err(io::Error::other("the engine's frames are malformed"));
        };
        let length = u64::from(u32::from_be_bytes([a, b, c, d]));
        match kind {
            0 | 1 => pass(&mut from, length, &mut stdout)?,
            2 | 3 => pass(&mut from, length, &mut stderr)?,
            _ => return Err(io::Error::other("the engine's frames are malformed")),
        }
    }
}

fn over(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset
    )
}

/// Hands on `length` bytes as they come, or fewer if no more come.
fn pass(from: &mut impl BufRead, mut length: u64, to: &mut impl Write) -> io::Result<()> {
    while length > 0 {
        let chunk = match from.fill_buf() {
            Ok([]) => return Ok(()),
            Ok(chunk) => chunk,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) if over(&error) => return Ok(()),
            Err(error) => return Err(error),
        };
        let most = usize::try_from(length).unwrap_or(usize::MAX);
        let count = chunk.len().min(most);
        to.write_all(&chunk[..count])?;
        from.consume(count);
        length -= count as u64;
    }
    Ok(())
}

/// How our input came to an end.
#[derive(Debug, PartialEq, Eq)]
enum Fed {
    All,
    Detached,
}

fn feed(stream: &UnixStream, tty: bool) -> io::Result<Fed> {
    let mut stdin = unbuffered(io::stdin().as_fd())?;
    let fed = type_in(&mut stdin, stream, tty)?;
    if fed == Fed::All {
        stream.shutdown(Shutdown::Write)?;
    }
    Ok(fed)
}

/// Hands on what comes; at a terminal, up to the keys to detach.
fn type_in(from: &mut impl Read, mut to: impl Write, tty: bool) -> io::Result<Fed> {
    let mut buffer = [0; CHUNK];
    let mut held = false;
    loop {
        let count = match from.read(&mut buffer) {
            Ok(0) => return Ok(Fed::All),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if !tty {
            to.write_all(&buffer[..count])?;
            continue;
        }
        let mut typed = Vec::with_capacity(count + 1);
        for byte in &buffer[..count] {
            if held && *byte == DETACH[1] {
                to.write_all(&typed)?;
                return Ok(Fed::Detached);
            }
            if held {
                typed.push(DETACH[0]);
            }
            held = *byte == DETACH[0];
            if !held {
                typed.push(*byte);
            }
        }
        to.write_all(&typed)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copied(bytes: &[u8], tty: bool) -> (io::Result<()>, Vec<u8>, Vec<u8>) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        // One byte at a time, as a slow engine may send them.
        let from = BufReader::with_capacity(1, bytes);
        let result = copy(from, tty, &mut out, &mut err);
        (result, out, err)
    }

    #[test]
    fn frames_come_apart() {
        let frames = b"\x01\0\0\0\0\0\0\x03one\x02\0\0\0\0\0\0\x03two\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\x01\n";
        let (result, out, err) = copied(frames, false);
        result.unwrap();
        assert_eq!((&out[..], &err[..]), (&b"one\n"[..], &b"two"[..]));
        let (_, out, _) = copied(frames, true);
        assert_eq!(out, frames);
    }

    #[test]
    fn what_breaks_off_is_handed_on_and_what_is_malformed_is_said() {
        for cut in [
            &b"\x01\0\0\0\0\0\0\x09one"[..],
            b"\x01\0\0\0\0\0\0\x03one\x01\0",
        ] {
            let (result, out, _) = copied(cut, false);
            result.unwrap();
            assert_eq!(out, b"one");
        }
        for bad in [&b"\x04\0\0\0\0\0\0\x01x"[..], b"HTTP/1.1 400 Bad"] {
            assert!(copied(bad, false).0.is_err());
        }
        // A frame of 4 GiB is not waited for in memory.
        let (_, out, _) = copied(b"\x01\0\0\0\xff\xff\xff\xffx", false);
        assert_eq!(out, b"x");
    }

    #[test]
    fn keys_detach_at_a_terminal_only() {
        let typed = |keys: &[u8], tty| {
            let mut sent = Vec::new();
            // Also when they come one by one.
            let fed = type_in(&mut BufReader::with_capacity(1, keys), &mut sent, tty);
            (fed.unwrap(), sent)
        };
        assert_eq!(typed(b"a\x10\x11b", true), (Fed::Detached, b"a".into()));
        assert_eq!(
            typed(b"\x10\x10a\x11\x10b", true),
            (Fed::All, b"\x10\x10a\x11\x10b".into())
        );
        assert_eq!(
            typed(b"a\x10\x11b", false),
            (Fed::All, b"a\x10\x11b".into())
        );
    }

    #[test]
    fn the_exit_code_is_the_containers() {
        let code = |text: &str| exit_code(&serde_json::from_str(text).unwrap());
        assert_eq!(code(r#"{"StatusCode":7}"#).unwrap(), 7.into());
        assert_eq!(code(r#"{"StatusCode":0,"Error":null}"#).unwrap(), 0.into());
        for bad in [r#"{"StatusCode":0,"Error":{"Message":"x"}}"#, "{}", "null"] {
            assert!(code(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn only_what_is_wanted_is_asked_for() {
        let streams = Streams {
            stdout: true,
            ..Streams::default()
        };
        assert_eq!(streams.query(), "stream=1&stdout=1");
    }
}
