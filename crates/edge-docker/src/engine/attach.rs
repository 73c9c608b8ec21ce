//! Attachment to a container: forwards its streams, the signals of the caller and the
//! size of the terminal, and returns its exit code, as docker's client does.
//!
//! `docker start --attach` is not used: it would be one more program to start, and exits
//! with 1 where `docker run` exits with 126 or 127. Protocol:
//! <https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Container/operation/ContainerAttach>.

use std::io::{self, ErrorKind, IsTerminal as _};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use edge_common::Root;
use edge_common::contract::exit_code::REFUSED;
use edge_common::exit::Failure;
use edge_docker_policy::cli::streams::Streams;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use serde_json::Value;
use tokio::signal::unix::SignalKind;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::error::EngineError;
use super::streams::{InputEnd, forward_input, forward_output};
use super::{client, containers, signals};

/// Exit code of `docker run` if the container image does not contain the command.
const COMMAND_NOT_FOUND: u8 = 127;
/// Exit code of `docker run` if the command exists and cannot be executed.
const COMMAND_NOT_RUNNABLE: u8 = 126;
/// Base of the exit code of a process that a signal ended: 128 plus the signal number.
const SIGNAL_BASE: i32 = 128;
/// Signal number of SIGPIPE on Linux, for the exit code when nobody reads our output.
const SIGPIPE: i32 = 13;
/// Signals that are forwarded to the container, with their names in the engine's API.
// The list contains the signals that a keyboard, a shell or systemd sends. SIGPIPE is not
// one of them: it means that nobody reads our output, which is no reason for the
// container to end.
const SIGNALS: [(SignalKind, &str); 7] = [
    (SignalKind::hangup(), "SIGHUP"),
    (SignalKind::interrupt(), "SIGINT"),
    (SignalKind::quit(), "SIGQUIT"),
    (SignalKind::user_defined1(), "SIGUSR1"),
    (SignalKind::user_defined2(), "SIGUSR2"),
    (SignalKind::alarm(), "SIGALRM"),
    (SignalKind::terminate(), "SIGTERM"),
];

/// Event that [`follow`] handles while a container is attached.
enum Event {
    /// The output of the container has ended, or forwarding it failed.
    Output(io::Result<()>),
    /// The detach keys Ctrl-P, Ctrl-Q were typed.
    Detached,
    /// The engine responded to the wait request: the container has ended.
    Exited(Result<Value>),
    /// A signal arrived; the value is its index in [`SIGNALS`].
    Signal(usize),
    /// The size of the terminal has changed (SIGWINCH).
    Resized,
}

/// Attaches to the container `id` and starts it; calls `started` once it runs. Returns its
/// exit code when it has ended, or 0 after the detach keys. `removed` means that the
/// engine removes the container at its end (`--rm`).
pub(crate) async fn run(
    root: &Root,
    id: &str,
    streams: Streams,
    removed: bool,
    started: impl FnOnce(),
) -> Result<ExitCode> {
    // With -t alone no input is forwarded, so our own terminal keeps its mode.
    let terminal = streams.tty && streams.stdin;
    if terminal && !io::stdin().is_terminal() {
        // The container was created for this command and will not be started.
        containers::remove(root, id).await?;
        bail!("the input device is not a TTY: drop -t to feed it from a pipe or file");
    }
    let (sender, events) = unbounded_channel();
    // Before the start: otherwise a signal right after it could end this process and
    // leave a running container that nobody waits for.
    listen(&sender, streams.tty)?;
    let stream = attach(root, id, streams, removed, &sender).await?;
    // Before the start, to avoid echoing input twice: from the start on, the container
    // echoes what is typed.
    let _raw = terminal.then(Raw::set).transpose()?;
    start(root, id).await?;
    started();
    // After the start, because the engine resizes only the terminal of a running process.
    if streams.tty {
        resize(root, id).await;
    }
    if streams.stdin {
        // A thread that is never joined: reading from a terminal cannot be cancelled, and
        // the runtime would wait at its end until one more key is pressed.
        std::thread::spawn(move || match forward_input(&stream, streams.tty) {
            Ok(InputEnd::Detached) => sender.send(Event::Detached).ok(),
            // A container may end without reading its input, which is not an error.
            Ok(InputEnd::Closed) | Err(_) => None,
        });
    }
    follow(root, id, streams, events).await
}

/// Attaches to a container that is not started yet. From then on its output is forwarded,
/// and the end of the output and that of the container arrive as events. Returns the
/// stream for the input.
async fn attach(
    root: &Root,
    id: &str,
    streams: Streams,
    removed: bool,
    sender: &UnboundedSender<Event>,
) -> Result<Arc<UnixStream>> {
    let path = format!("/containers/{id}/attach?{}", query(streams));
    // Attached before the start, because the stream contains no earlier output.
    let (stream, arrived) = client::attach(root, &path).await?;
    // The wait begins before the start: a short-lived container could end in between, and
    // with --rm its exit code would be lost.
    let condition = if removed { "removed" } else { "next-exit" };
    let path = format!("/containers/{id}/wait?condition={condition}");
    let end = client::wait(root, &path).await?;
    let exited = sender.clone();
    tokio::spawn(async move { exited.send(Event::Exited(end.await)).ok() });

    let stream = Arc::new(stream);
    let (output, ended) = (Arc::clone(&stream), sender.clone());
    std::thread::spawn(move || {
        let forwarded = forward_output(&arrived, &output, streams.tty);
        ended.send(Event::Output(forwarded)).ok()
    });
    Ok(stream)
}

/// Returns the query of an attach request, for example `stream=1&stdout=1`.
fn query(streams: Streams) -> String {
    let all = [
        ("stdin", streams.stdin),
        ("stdout", streams.stdout),
        ("stderr", streams.stderr),
    ];
    let wanted = all.iter().filter(|(_, wanted)| *wanted);
    wanted.fold("stream=1".into(), |query, (name, _)| {
        format!("{query}&{name}=1")
    })
}

/// Starts a container. The error for a command that cannot be executed has docker's exit
/// code, 126 or 127.
pub(crate) async fn start(root: &Root, id: &str) -> Result<()> {
    containers::start(root, id).await.map_err(|error| {
        let code = match error.downcast_ref() {
            Some(EngineError::Response { message, .. }) => start_exit_code(message),
            _ => None,
        };
        match code {
            Some(code) => Failure::wrap(code, error),
            None => error,
        }
    })
}

/// Returns the exit code of docker's client for an error message of the container
/// runtime.
///
/// The message is parsed, because the engine responds with the same status if a command
/// is missing and if the runtime does not work. Docker's client parses the same messages.
/// Only the exit code depends on the result.
fn start_exit_code(message: &str) -> Option<u8> {
    let has = |texts: [&str; 2]| texts.iter().any(|text| message.contains(text));
    if has(["executable file not found", "no such file or directory"]) {
        return Some(COMMAND_NOT_FOUND);
    }
    has(["permission denied", "is a directory"]).then_some(COMMAND_NOT_RUNNABLE)
}

/// Handles events until the container has ended and all of its output is forwarded.
/// Returns the exit code of the container; returns early after the detach keys or a
/// signal to this process.
async fn follow(
    root: &Root,
    id: &str,
    streams: Streams,
    mut events: UnboundedReceiver<Event>,
) -> Result<ExitCode> {
    let (mut code, mut output_ended) = (None, false);
    loop {
        // Both are awaited, because they arrive on different connections, and the last
        // output may arrive after the exit code.
        if let (Some(code), true) = (code, output_ended) {
            return Ok(code);
        }
        match events.recv().await.context("waiting for the container")? {
            Event::Output(Ok(())) => output_ended = true,
            Event::Output(Err(error)) if error.kind() == ErrorKind::BrokenPipe => {
                // Nobody reads our output. The exit code is that of docker's client,
                // which SIGPIPE ends; the container continues to run.
                return Ok(ended_by(SIGPIPE));
            }
            Event::Output(Err(error)) => {
                return Err(error).context("forwarding the container's output");
            }
            Event::Exited(result) => {
                // The engine ended while the container ran. Docker's client exits with
                // 125 too.
                let result = result.map_err(|e| Failure::wrap(REFUSED, e))?;
                code = Some(exit_code(&result)?);
            }
            Event::Detached => return Ok(ExitCode::SUCCESS),
            Event::Resized => resize(root, id).await,
            Event::Signal(number) => {
                let (kind, name) = SIGNALS[number];
                // A terminal in raw mode sends Ctrl-C as a key, so a signal is meant for
                // this process. With --sig-proxy=false every signal is.
                if streams.tty || !streams.signals {
                    return Ok(ended_by(kind.as_raw_value()));
                }
                // An error means that the container has just ended, which arrives as an
                // event.
                let _ = containers::act(root, id, &format!("kill?signal={name}")).await;
            }
        }
    }
}

/// Returns the exit code that a shell reports for a process that `signal` ended.
fn ended_by(signal: i32) -> ExitCode {
    u8::try_from(SIGNAL_BASE + signal).unwrap_or(u8::MAX).into()
}

fn exit_code(result: &Value) -> Result<ExitCode> {
    // If the wait request failed, `StatusCode` is not the exit code of the container.
    if let Some(error) = result["Error"]["Message"]
        .as_str()
        .filter(|e| !e.is_empty())
    {
        return Err(EngineError::Reported(error.into()).into());
    }
    let code = result["StatusCode"].as_u64();
    let code = code.context("the engine's response has no exit code")?;
    Ok(u8::try_from(code).unwrap_or(u8::MAX).into())
}

/// Subscribes to [`SIGNALS`] and, with a terminal, to SIGWINCH. From then on they arrive
/// as events and do not end this process.
fn listen(sender: &UnboundedSender<Event>, tty: bool) -> Result<()> {
    for (number, (kind, _)) in SIGNALS.into_iter().enumerate() {
        signals::listen(kind, sender, move || Event::Signal(number))?;
    }
    if tty {
        signals::listen(SignalKind::window_change(), sender, || Event::Resized)?;
    }
    Ok(())
}

/// Sends the size of our terminal to the engine, unless standard output is not a
/// terminal.
async fn resize(root: &Root, id: &str) {
    if let Ok(size) = tcgetwinsize(io::stdout()) {
        let (rows, columns) = (size.ws_row, size.ws_col);
        let action = format!("resize?h={rows}&w={columns}");
        // An error means that the container has just ended, which arrives as an event.
        let _ = containers::act(root, id, &action).await;
    }
}

/// Raw mode of our terminal, in which each key is forwarded unchanged. Dropping the value
/// restores the previous mode.
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

#[cfg(test)]
mod tests {
    use super::*;

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
    fn only_wanted_streams_are_requested() {
        let streams = Streams {
            stdout: true,
            ..Streams::default()
        };
        assert_eq!(query(streams), "stream=1&stdout=1");
    }
}
