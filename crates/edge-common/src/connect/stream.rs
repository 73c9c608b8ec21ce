//! TCP stream on which each read and write ends at a deadline.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// TCP stream with a deadline. OpenSSL reads each record through it, so that a peer that
/// sends records for ever, or a byte a second, does not outlive the deadline.
#[derive(Debug)]
pub(crate) struct Stream {
    tcp: TcpStream,
    /// Time at which reads and writes end with `WouldBlock`.
    pub deadline: Instant,
    /// Number of bytes received.
    pub received: u64,
}

impl Stream {
    pub(super) fn new(tcp: TcpStream, deadline: Instant) -> Self {
        // Packets are small and wait for answers.
        let _ = tcp.set_nodelay(true);
        Self {
            tcp,
            deadline,
            received: 0,
        }
    }

    fn left(&self) -> io::Result<Duration> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(ErrorKind::WouldBlock.into());
        }
        Ok(left.max(Duration::from_millis(1)))
    }

    /// Closes the connection for both sides.
    #[cfg(feature = "mqtt")]
    pub(crate) fn shut_down(&self) {
        let _ = self.tcp.shutdown(std::net::Shutdown::Both);
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.tcp.set_read_timeout(Some(self.left()?))?;
        let count = self.tcp.read(buffer)?;
        self.received += count as u64;
        Ok(count)
    }
}

impl Write for Stream {
    fn write(&mut self, buffer: &[u8]) -> io::Result<usize> {
        self.tcp.set_write_timeout(Some(self.left()?))?;
        self.tcp.write(buffer)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.tcp.flush()
    }
}
