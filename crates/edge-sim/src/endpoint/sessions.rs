//! Connected clients, and the messages that wait for each of them.

use std::collections::{HashMap, VecDeque};
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::lock;

/// Topic and payload of a message.
pub(super) type Message = (String, Vec<u8>);

/// Messages that the connection of a client has to send.
pub(super) struct Outbox {
    queue: Mutex<VecDeque<Message>>,
    waker: UnixStream,
}

/// Receiving end of the wake-ups of an [`Outbox`].
pub(super) struct Wake(UnixStream);

impl Outbox {
    /// Creates an outbox and its wake-ups.
    pub(super) fn new() -> io::Result<(Arc<Self>, Wake)> {
        let (waker, wake) = UnixStream::pair()?;
        waker.set_nonblocking(true)?;
        wake.set_nonblocking(true)?;
        let outbox = Self {
            queue: Mutex::default(),
            waker,
        };
        Ok((Arc::new(outbox), Wake(wake)))
    }

    /// Adds a message and wakes the connection.
    pub(super) fn push(&self, topic: &str, payload: Vec<u8>) {
        lock(&self.queue).push_back((topic.into(), payload));
        // A full pipe wakes the connection as well.
        let _ = (&self.waker).write(&[0]);
    }

    /// Removes and returns the next message.
    pub(super) fn pop(&self) -> Option<Message> {
        lock(&self.queue).pop_front()
    }
}

impl Wake {
    /// Waits for data on `stream` or for a message; returns whether data can be read. The
    /// end of `timeout` is an error.
    pub(super) fn wait(&self, stream: &TcpStream, timeout: Duration) -> io::Result<bool> {
        let mut sources = [
            PollFd::from_borrowed_fd(stream.as_fd(), PollFlags::IN),
            PollFd::from_borrowed_fd(self.0.as_fd(), PollFlags::IN),
        ];
        let timeout = Timespec::try_from(timeout).map_err(io::Error::other)?;
        if poll(&mut sources, Some(&timeout))? == 0 {
            return Err(io::ErrorKind::TimedOut.into());
        }
        let readable = !sources[0].revents().is_empty();
        let mut bytes = [0; 64];
        while matches!((&self.0).read(&mut bytes), Ok(count) if count > 0) {}
        Ok(readable)
    }
}

struct Session {
    stream: TcpStream,
    outbox: Arc<Outbox>,
}

/// Sessions by client id.
#[derive(Default)]
pub(super) struct Sessions(Mutex<HashMap<String, Session>>);

impl Sessions {
    /// Adds a session and closes an older one with the same client id.
    pub(super) fn insert(&self, id: String, stream: TcpStream, outbox: Arc<Outbox>) {
        let session = Session { stream, outbox };
        if let Some(old) = lock(&self.0).insert(id, session) {
            let _ = old.stream.shutdown(Shutdown::Both);
        }
    }

    /// Adds a message for the client with this id, if it is connected.
    pub(super) fn send(&self, id: &str, topic: &str, payload: Vec<u8>) {
        if let Some(session) = lock(&self.0).get(id) {
            session.outbox.push(topic, payload);
        }
    }

    /// Closes the connections of all clients.
    pub(super) fn close(&self) {
        for (_, session) in lock(&self.0).drain() {
            let _ = session.stream.shutdown(Shutdown::Both);
        }
    }
}
