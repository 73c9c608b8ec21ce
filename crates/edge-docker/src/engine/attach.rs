//! `run` without `-d`: the container's streams, the signals and the terminal's
//! size on their way to it, and its exit code, as docker's client does it.
//! Protocol: <https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Container/operation/ContainerAttach>.

use std::io::{self, ErrorKind, IsTerminal as _};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use edge_common::Root;
use edge_common::exit::Failure;
use edge_common::log::printable;
use rustix::termios::{OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use serde_json::Value;
use tokio::signal::unix::SignalKind;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use edge_common::contract::exit_code::REFUSED;
use edge_docker_policy::cli::request::Streams;
use edge_docker_policy::refusal::refuse;

use super::client as engine;
use super::streams::{Fed, feed, hand_on};
use super::{containers, signals};

/// Exit code: there is no such command in the image.
const NOT_FOUND: u8 = 127;
/// Exit code: the command cannot be run.
const NOT_RUNNABLE: u8 = 126;
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
    listen(&sender, streams.tty)?;
    let stream = attach(root, id, streams, removed, &sender).await?;
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

/// Attaches to the container, and has what it prints and its end reported.
async fn attach(
    root: &Root,
    id: &str,
    streams: Streams,
    removed: bool,
    sender: &UnboundedSender<Event>,
) -> Result<Arc<UnixStream>> {
    let path = format!("/containers/{id}/attach?{}", query(streams));
    let (stream, arrived) = engine::attach(root, &path).await?;
    // Before it is started: it may be over at once.
    let condition = if removed { "removed" } else { "next-exit" };
    let path = format!("/containers/{id}/wait?condition={condition}");
    let end = engine::wait(root, &path).await?;
    let exited = sender.clone();
    tokio::spawn(async move { exited.send(Event::Exited(end.await)).ok() });

    let stream = Arc::new(stream);
    let (output, printed) = (Arc::clone(&stream), sender.clone());
    std::thread::spawn(move || {
        let handed = hand_on(&arrived, &output, streams.tty);
        printed.send(Event::Output(handed)).ok()
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
                // It may just have ended.
                let _ = containers::post(root, id, &format!("kill?signal={name}")).await;
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
    for (number, (kind, _)) in SIGNALS.into_iter().enumerate() {
        signals::notice(kind, sender, move || Event::Signal(number))?;
    }
    if tty {
        signals::notice(SignalKind::window_change(), sender, || Event::Resized)?;
    }
    Ok(())
}

/// Tells the engine how large our terminal is, if there is one.
async fn resize(root: &Root, id: &str) {
    if let Ok(size) = tcgetwinsize(io::stdout()) {
        let (rows, columns) = (size.ws_row, size.ws_col);
        let size = format!("resize?h={rows}&w={columns}");
        // It may just have ended.
        let _ = containers::post(root, id, &size).await;
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
    fn only_what_is_wanted_is_asked_for() {
        let streams = Streams {
            stdout: true,
            ..Streams::default()
        };
        assert_eq!(query(streams), "stream=1&stdout=1");
    }
}
