//! Simulated link between two TCP ports of this machine. Each byte arrives after
//! the delay. The first bytes of a connection arrive one more round trip later: on
//! a real network the TCP handshake takes this time, on this machine it takes none.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// Arguments of `edge-sim distance`, the TCP proxy that adds delay and limits the
/// rate.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Port of 127.0.0.1 to listen on; 0 selects a free port. The port is printed
    #[arg(long, default_value_t = 0)]
    listen: u16,
    /// Port of 127.0.0.1 to forward to
    #[arg(long)]
    to: u16,
    /// Delay of each direction in milliseconds
    #[arg(long, default_value_t = 0)]
    delay: u64,
    /// Rate in each direction, in bytes per second; 0: no limit
    #[arg(long, default_value_t = 0)]
    rate: u64,
}

/// Starts the proxy, prints its port and forwards connections until the process is
/// killed.
pub(crate) fn run(args: &Args) -> Result<()> {
    let link = TcpLink {
        delay: Duration::from_millis(args.delay),
        rate: args.rate,
    };
    println!("{}", start(args.listen, args.to, link, Arc::default())?);
    loop {
        std::thread::park();
    }
}

/// Delay and rate of a simulated link.
#[derive(Debug, Clone, Copy)]
pub(crate) struct TcpLink {
    /// Delay of each direction, half of the round trip.
    pub delay: Duration,
    /// Rate in each direction, in bytes per second; 0: no limit.
    pub rate: u64,
}

/// Counters over all connections of a link.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    /// Number of connections that clients opened.
    pub connections: AtomicUsize,
    /// Number of bytes in both directions together.
    pub bytes: AtomicUsize,
}

/// Chunks of bytes with the time of their arrival, and whether the sender has
/// closed.
type Queue = (VecDeque<(Instant, Vec<u8>)>, bool);

/// Bytes in transit in one direction, between the thread that reads and the thread
/// that writes.
#[derive(Default)]
struct Pipe {
    queue: Mutex<Queue>,
    changed: Condvar,
}

/// Listens on `listen` and forwards all connections to 127.0.0.1:`to`, in threads
/// that live as long as the process. Returns the port, which is a free one if
/// `listen` is 0.
pub(crate) fn start(listen: u16, to: u16, link: TcpLink, counts: Arc<Counts>) -> Result<u16> {
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

fn connect(near: TcpStream, to: u16, link: TcpLink, counts: &Arc<Counts>) -> Result<()> {
    counts.connections.fetch_add(1, Ordering::Relaxed);
    let far = TcpStream::connect(("127.0.0.1", to)).context("connecting")?;
    for stream in [&near, &far] {
        stream.set_nodelay(true)?;
    }
    let opened = Instant::now() + link.delay * 2;
    forward(near.try_clone()?, far.try_clone()?, link, opened, counts);
    forward(far, near, link, opened, counts);
    Ok(())
}

/// Forwards one direction of a connection, by a thread that reads and a thread that
/// writes. No byte passes before `opened`.
fn forward(
    mut from: TcpStream,
    mut to: TcpStream,
    link: TcpLink,
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
            // Earlier bytes occupy the link until `free`.
            free = free.max(Instant::now()) + transmission_time(count, link.rate);
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

fn transmission_time(count: usize, rate: u64) -> Duration {
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
        let link = TcpLink {
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
        assert_eq!(transmission_time(1000, 1000), Duration::from_secs(1));
    }
}
