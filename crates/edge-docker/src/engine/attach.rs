//! Attachment to a container: its streams, the signals and the terminal's size on their
//! way to it, and its exit code, as docker's client does it. `docker start --attach`
//! would be one more program to start, and gives 1 where `docker run` gives 126 or 127.
//! Protocol: <https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Container/operation/ContainerAttach>.

use std::io::{self, ErrorKind, IsTerminal as _};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use edge_common::Root;
use edge_common::contract::exit_code::REFUSED;
use edge_common::exit::Failure;
use edge_docker_policy::cli::request::Streams;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use serde_json::Value;
use tokio::signal::unix::SignalKind;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::error::EngineError;
use super::streams::{InputEnd, forward_input, forward_output};
use super::{client, containers, signals};

/// Exit code: there is no such command in the image.
const COMMAND_NOT_FOUND: u8 = 127;
/// Exit code: the command cannot be run.
const COMMAND_NOT_RUNNABLE: u8 = 126;
/// Exit code of a process that a signal ended: this and the signal's number.
const SIGNAL_BASE: i32 = 128;
/// Number of SIGPIPE.
const SIGPIPE: i32 = 13;
/// Signals that are forwarded to the container, by the name that the engine takes.
// Those that a keyboard, a shell or a unit sends. SIGPIPE is not one of them: it means
// that nobody reads our output, which is no reason for the container to end.
const SIGNALS: [(SignalKind, &str); 7] = [
    (SignalKind::hangup(), "SIGHUP"),
    (SignalKind::interrupt(), "SIGINT"),
    (SignalKind::quit(), "SIGQUIT"),
    (SignalKind::user_defined1(), "SIGUSR1"),
    (SignalKind::user_defined2(), "SIGUSR2"),
    (SignalKind::alarm(), "SIGALRM"),
    (SignalKind::terminate(), "SIGTERM"),
];

/// Event of an attached container.
enum Event {
    /// The output ended, or cannot be forwarded.
    Output(io::Result<()>),
    /// The keys to detach were typed.
    Detached,
    /// The engine reported the end of the container.
    Exited(Result<Value>),
    /// A signal arrived, by its number in [`SIGNALS`].
    Signal(usize),
    /// The terminal has another size.
    Resized,
}

/// Starts the container `id`, attached; returns its exit code once it has ended, or 0
/// once it is detached. `removed` tells that the engine removes it at its end.
pub(crate) async fn run(
    root: &Root,
    id: &str,
    streams: Streams,
    removed: bool,
) -> Result<ExitCode> {
    // With -t alone nothing is typed, and our own terminal keeps its mode.
    let terminal = streams.tty && streams.stdin;
    if terminal && !io::stdin().is_terminal() {
        // Created, but nobody would ever start it.
        containers::remove(root, id).await?;
        bail!("the input device is not a TTY: drop -t to feed it from a pipe or file");
    }
    let (sender, events) = unbounded_channel();
    // Before the start: a signal that ended this process now would leave a container behind
    // that nobody waits for.
    listen(&sender, streams.tty)?;
    let stream = attach(root, id, streams, removed, &sender).await?;
    // Before the start: what is typed from then on is echoed by the container alone.
    let _raw = terminal.then(Raw::set).transpose()?;
    start(root, id).await?;
    // After the start: the engine resizes only a terminal whose process runs.
    if streams.tty {
        resize(root, id).await;
    }
    if streams.stdin {
        // A thread that nobody joins: a read of a terminal cannot be cancelled, and the
        // runtime would wait for it at the end, until one more key is pressed.
        std::thread::spawn(move || match forward_input(&stream, streams.tty) {
            Ok(InputEnd::Detached) => sender.send(Event::Detached).ok(),
            // A container may end without reading its input: no error of ours.
            Ok(InputEnd::Closed) | Err(_) => None,
        });
    }
    follow(root, id, streams, events).await
}

/// Attaches to the container, and has its output and its end sent as events.
async fn attach(
    root: &Root,
    id: &str,
    streams: Streams,
    removed: bool,
    sender: &UnboundedSender<Event>,
) -> Result<Arc<UnixStream>> {
    let path = format!("/containers/{id}/attach?{}", query(streams));
    // Attached before the start: the stream has no output from before the attachment.
    let (stream, arrived) = client::attach(root, &path).await?;
    // The wait begins before the start: a short container could end in between, and one
    // with --rm would leave no exit code behind.
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

/// Returns the query that attaches to `streams`.
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

/// Starts a container; a command that cannot be run has docker's exit codes for that.
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

/// Returns the exit code that docker's client gives for a message of the runtime.
///
/// This reads text, unlike everything else here: the engine reports a missing command
/// and a broken runtime with the same status, and docker's client distinguishes them by
/// the same texts. Only the exit code depends on it.
fn start_exit_code(message: &str) -> Option<u8> {
    let has = |texts: [&str; 2]| texts.iter().any(|text| message.contains(text));
    if has(["executable file not found", "no such file or directory"]) {
        return Some(COMMAND_NOT_FOUND);
    }
    has(["permission denied", "is a directory"]).then_some(COMMAND_NOT_RUNNABLE)
}

/// Waits until the container has ended and all of its output is forwarded.
async fn follow(
    root: &Root,
    id: &str,
    streams: Streams,
    mut events: UnboundedReceiver<Event>,
) -> Result<ExitCode> {
    let (mut code, mut output_ended) = (None, false);
    loop {
        // Both: they come on different connections, and the last output may arrive
        // after the exit code.
        if let (Some(code), true) = (code, output_ended) {
            return Ok(code);
        }
        match events.recv().await.context("waiting for the container")? {
            Event::Output(Ok(())) => output_ended = true,
            Event::Output(Err(error)) if error.kind() == ErrorKind::BrokenPipe => {
                // The exit code of docker's client, which dies of SIGPIPE. The container
                // runs on.
                return Ok(ended_by(SIGPIPE));
            }
            Event::Output(Err(error)) => {
                return Err(error).context("forwarding the container's output");
            }
            Event::Exited(result) => {
                // The engine went away under the container, which docker makes 125 too.
                let result = result.map_err(|e| Failure::wrap(REFUSED, e))?;
                code = Some(exit_code(&result)?);
            }
            Event::Detached => return Ok(ExitCode::SUCCESS),
            Event::Resized => resize(root, id).await,
            Event::Signal(number) => {
                let (kind, name) = SIGNALS[number];
                // A terminal in raw mode sends Ctrl-C as a key. A signal that arrives all
                // the same is meant for this process.
                if streams.tty || !streams.signals {
                    return Ok(ended_by(kind.as_raw_value()));
                }
                // An error means that it has just ended, which comes as an event.
                let _ = containers::act(root, id, &format!("kill?signal={name}")).await;
            }
        }
    }
}

/// Returns the exit code that a shell shows for a process that a signal ended.
fn ended_by(signal: i32) -> ExitCode {
    u8::try_from(SIGNAL_BASE + signal).unwrap_or(u8::MAX).into()
}

fn exit_code(result: &Value) -> Result<ExitCode> {
    // Beside an error of the wait, the status code is not that of the container.
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

/// Has signals sent as events from now on.
fn listen(sender: &UnboundedSender<Event>, tty: bool) -> Result<()> {
    for (number, (kind, _)) in SIGNALS.into_iter().enumerate() {
        signals::listen(kind, sender, move || Event::Signal(number))?;
    }
    if tty {
        signals::listen(SignalKind::window_change(), sender, || Event::Resized)?;
    }
    Ok(())
}

/// Reports the size of our terminal, if there is one, to the engine.
async fn resize(root: &Root, id: &str) {
    if let Ok(size) = tcgetwinsize(io::stdout()) {
        let (rows, columns) = (size.ws_row, size.ws_col);
        let action = format!("resize?h={rows}&w={columns}");
        // An error means that it has just ended.
        let _ = containers::act(root, id, &action).await;
    }
}

/// Terminal in raw mode, which passes each key on, until this is dropped.
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
