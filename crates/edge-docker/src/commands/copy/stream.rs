//! Threads of a copy, the pipe between them, and their end by a signal.

use std::fs::File;
use std::future::poll_fn;
use std::io::{BufWriter, Read};
use std::os::fd::OwnedFd;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::signal::unix::SignalKind;
use tokio::sync::{mpsc, oneshot};

use super::{Copied, is_broken_pipe};
use crate::engine::signals;

/// Exit code after SIGINT, SIGTERM or SIGHUP.
pub(super) const INTERRUPTED: u8 = 130;
/// Time in which a cancelled thread removes its unfinished file.
const CANCEL_LIMIT: Duration = Duration::from_secs(10);
/// Size of the buffer before a pipe or standard output, in bytes.
const BUFFER_BYTES: usize = 256 * 1024;

/// Copy that is being carried out.
pub(super) struct Work {
    done: Vec<oneshot::Receiver<Result<Copied>>>,
    cancel: Option<Cancel>,
    signals: mpsc::UnboundedReceiver<()>,
    /// Keeps the ticket that permits the copy from ending before it.
    _ticket: Option<File>,
}

/// Writing end of a pipe whose other end ends an [`Input`].
pub(super) struct Cancel(OwnedFd);

impl Cancel {
    pub(super) fn new() -> Result<(Self, OwnedFd)> {
        let (end, cancel) = pipe_with(PipeFlags::CLOEXEC).context("creating a pipe")?;
        Ok((Self(cancel), end))
    }
}

/// Archive that is read, until it is cancelled.
pub(super) struct Input {
    from: File,
    cancel: OwnedFd,
    /// Set once the input has ended, before the block of zeros that ends an archive.
    has_ended: bool,
}

impl Input {
    pub(super) fn new(from: OwnedFd, cancel: OwnedFd) -> Self {
        Self {
            from: from.into(),
            cancel,
            has_ended: false,
        }
    }

    /// Returns whether the archive had its end. One that was cut between two files would
    /// look complete otherwise.
    pub(super) fn is_complete(&self) -> bool {
        !self.has_ended
    }
}

impl Read for Input {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let mut fds = [
            PollFd::new(&self.cancel, PollFlags::IN),
            PollFd::new(&self.from, PollFlags::IN),
        ];
        while let Err(error) = poll(&mut fds, None) {
            if error != Errno::INTR {
                return Err(error.into());
            }
        }
        if !fds[0].revents().is_empty() {
            return Err(std::io::Error::other("interrupted"));
        }
        let length = self.from.read(buffer)?;
        self.has_ended = length == 0 && !buffer.is_empty();
        Ok(length)
    }
}

impl Work {
    /// Starts a copy in one thread. With `cancel` it removes its unfinished file after a
    /// signal, otherwise it ends with the process.
    pub(super) fn one(
        ticket: Option<File>,
        cancel: Option<Cancel>,
        work: impl FnOnce() -> Result<Copied> + Send + 'static,
    ) -> Result<Self> {
        Ok(Self {
            // Before the copy begins: a signal must find its handler.
            signals: listen()?,
            done: vec![spawn(work)],
            cancel,
            _ticket: ticket,
        })
    }

    /// Starts a copy from one thread, which writes an archive, to another one.
    pub(super) fn both(
        ticket: Option<File>,
        write: impl FnOnce(BufWriter<File>) -> Result<Copied> + Send + 'static,
        read: impl FnOnce(Input) -> Result<Copied> + Send + 'static,
    ) -> Result<Self> {
        let (input, output) = pipe_with(PipeFlags::CLOEXEC).context("creating a pipe")?;
        let (cancel, end) = Cancel::new()?;
        let input = Input::new(input, end);
        let output = BufWriter::with_capacity(BUFFER_BYTES, File::from(output));
        Ok(Self {
            signals: listen()?,
            done: vec![spawn(move || write(output)), spawn(move || read(input))],
            cancel: Some(cancel),
            _ticket: ticket,
        })
    }

    /// Waits for the end of the copy. Returns `None` if a signal ended it.
    pub(super) async fn wait(self) -> Result<Option<Copied>> {
        let mut all = pin!(all(self.done));
        let mut signals = self.signals;
        let ended = poll_fn(|context| match all.as_mut().poll(context) {
            Poll::Ready(copied) => Poll::Ready(Some(copied)),
            Poll::Pending => signals.poll_recv(context).map(|_| None),
        });
        if let Some(copied) = ended.await {
            return copied.map(Some);
        }
        if let Some(Cancel(cancel)) = self.cancel {
            rustix::io::write(cancel, b"x").context("cancelling")?;
            let _ = tokio::time::timeout(CANCEL_LIMIT, all).await;
        }
        Ok(None)
    }
}

fn listen() -> Result<mpsc::UnboundedReceiver<()>> {
    let (sender, receiver) = mpsc::unbounded_channel();
    for kind in [
        SignalKind::interrupt(),
        SignalKind::terminate(),
        SignalKind::hangup(),
    ] {
        signals::listen(kind, &sender, || ())?;
    }
    Ok(receiver)
}

/// Waits for all threads. Returns the content as the first one counted it, or the error
/// that is the cause of the others.
async fn all(done: Vec<oneshot::Receiver<Result<Copied>>>) -> Result<Copied> {
    let (mut copied, mut errors) = (None, Vec::new());
    for thread in done {
        match thread.await.map_err(|_| anyhow!("a thread panicked"))? {
            Ok(counted) => copied = copied.or(Some(counted)),
            Err(error) => errors.push(error),
        }
    }
    // The writer's error is the cause of the reader's, unless the reader has ended first.
    let cause = errors.iter().position(|error| !is_broken_pipe(error));
    match (errors.is_empty(), copied) {
        (true, Some(copied)) => Ok(copied),
        _ => Err(errors.swap_remove(cause.unwrap_or(0))),
    }
}

fn spawn<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> oneshot::Receiver<T> {
    let (sender, receiver) = oneshot::channel();
    std::thread::spawn(move || {
        // The receiver is gone if a signal ended the copy.
        let _ = sender.send(work());
    });
    receiver
}
