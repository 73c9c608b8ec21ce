//! A relay of TCP ports that makes a distant network of loopback: each byte comes so
//! much later, and the first ones of a connection later by a round trip, for
//! the handshake of TCP that a relay answers at once.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// A port that leads to another.
#[derive(clap::Args)]
pub struct Args {
    /// Port on 127.0.0.1 where it listens; 0: a free one, which is printed
    #[arg(long, default_value_t = 0)]
    listen: u16,
    /// Port on 127.0.0.1 where it leads
    #[arg(long)]
    to: u16,
    /// Milliseconds one way
    #[arg(long, default_value_t = 0)]
    delay: u64,
    /// Bytes a second in each direction; 0: no limit
    #[arg(long, default_value_t = 0)]
    rate: u64,
}

/// Relays until it is stopped.
///
/// # Errors
/// The port is taken.
pub fn run(args: &Args) -> Result<()> {
    let link = Link {
        delay: Duration::from_millis(args.delay),
        rate: args.rate,
    };
    println!("{}", start(args.listen, args.to, link, Arc::default())?);
    loop {
        std::thread::park();
    }
}

/// How far away the other side is.
#[derive(Debug, Clone, Copy)]
pub struct Link {
    /// One way.
    pub delay: Duration,
    /// Bytes a second in each direction; 0: no limit.
    pub rate: u64,
}

/// What went over it.
#[derive(Debug, Default)]
pub struct Counts {
    /// Connections.
    pub connections: AtomicUsize,
    /// Bytes, both ways.
    pub bytes: AtomicUsize,
}

/// Bytes that arrive at a moment, and whether more can come no longer.
type Queue = (VecDeque<(Instant, Vec<u8>)>, bool);

/// Bytes under way, with the moment at which they arrive.
#[derive(Default)]
struct Pipe {
    queue: Mutex<Queue>,
    changed: Condvar,
}

/// Listens on a port and leads all connections to 127.0.0.1:`to`, in the
/// background, for as long as the process lives. Gives the port.
///
/// # Errors
/// The port is taken.
pub fn start(listen: u16, to: u16, link: Link, counts: Arc<Counts>) -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", listen)).context("listening")?;
    let port = listener.local_addr()?.port();
    std::thread::spawn(move || {
        for near in listener.incoming().flatten() {
            let counts = Arc::clone(&counts);
            std::thread::spawn(move || connect(near, to, link, &counts));
        }
    });
    Ok(port)
}

fn connect(near: TcpStream, to: u16, link: Link, counts: &Arc<Counts>) -> Result<()> {
    counts.connections.fetch_add(1, Ordering::Relaxed);
    let far = TcpStream::connect(("127.0.0.1", to)).context("connecting")?;
    for stream in [&near, &far] {
        stream.set_nodelay(true)?;
    }
    let opened = Instant::now() + link.delay * 2;
    carry(near.try_clone()?, far.try_clone()?, link, opened, counts);
    carry(far, near, link, opened, counts);
    Ok(())
}

/// One direction: one thread takes, one gives.
fn carry(
    mut from: TcpStream,
    mut to: TcpStream,
    link: Link,
    opened: Instant,
    counts: &Arc<Counts>,
) {
    let pipe = Arc::new(Pipe::default());
    let (taking, counts) = (Arc::clone(&pipe), Arc::clone(counts));
    std::thread::spawn(move || {
        let mut buffer = vec![0; 16 * 1024];
        let mut free = opened;
        while let Ok(count) = from.read(&mut buffer) {
            if count == 0 {
                break;
            }
            counts.bytes.fetch_add(count, Ordering::Relaxed);
            // The line is busy with earlier bytes until `free`.
            free = free.max(Instant::now()) + on_the_line(count, link.rate);
            taking.put(Some((free + link.delay, buffer[..count].to_vec())));
        }
        taking.put(None);
    });
    std::thread::spawn(move || {
        while let Some((due, bytes)) = pipe.take() {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
            if to.write_all(&bytes).is_err() {
                break;
            }
        }
        let _ = to.shutdown(Shutdown::Both);
    });
}

fn on_the_line(count: usize, rate: u64) -> Duration {
    let nanoseconds = (count as u64 * 1_000_000_000).checked_div(rate);
    Duration::from_nanos(nanoseconds.unwrap_or(0))
}

impl Pipe {
    fn put(&self, bytes: Option<(Instant, Vec<u8>)>) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        match bytes {
            Some(bytes) => queue.0.push_back(bytes),
            None => queue.1 = true,
        }
        self.changed.notify_one();
    }

    fn take(&self) -> Option<(Instant, Vec<u8>)> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(bytes) = queue.0.pop_front() {
                return Some(bytes);
            }
            if queue.1 {
                return None;
            }
            queue = self
                .changed
                .wait(queue)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_trip_takes_two_delays_and_the_first_one_four() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let to = server.local_addr().unwrap().port();
        std::thread::spawn(move || {
            let (mut stream, _) = server.accept().unwrap();
            let mut byte = [0];
            while stream.read_exact(&mut byte).is_ok() {
                stream.write_all(&byte).unwrap();
            }
        });
        let link = Link {
            delay: Duration::from_millis(50),
            rate: 0,
        };
        let counts = Arc::new(Counts::default());
        let port = start(0, to, link, Arc::clone(&counts)).unwrap();
        let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let mut trip = || {
            let start = Instant::now();
            stream.write_all(b"x").unwrap();
            stream.read_exact(&mut [0]).unwrap();
            start.elapsed().as_millis()
        };
        let (first, second) = (trip(), trip());
        assert!(
            first >= 200 && second >= 100 && second < first,
            "{first} {second}"
        );
        assert_eq!(counts.bytes.load(Ordering::Relaxed), 4);
        assert_eq!(on_the_line(1000, 1000), Duration::from_secs(1));
    }
}
