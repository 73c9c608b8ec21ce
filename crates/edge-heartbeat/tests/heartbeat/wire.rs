//! A network cable that can be pulled: a forwarder from one port to another.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Forwards until it is dropped.
pub struct Wire {
    pub port: u16,
    cut: Arc<AtomicBool>,
    over: Arc<AtomicBool>,
}

impl Wire {
    pub fn to(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let wire = Self {
            port: listener.local_addr().unwrap().port(),
            cut: Arc::default(),
            over: Arc::default(),
        };
        let (cut, over) = (Arc::clone(&wire.cut), Arc::clone(&wire.over));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if over.load(Ordering::Relaxed) {
                    return;
                }
                // Nobody there: the stream closes, as a dead broker's would.
                if let Ok(other) = TcpStream::connect(("127.0.0.1", port)) {
                    let (one, two) = (stream.try_clone().unwrap(), other.try_clone().unwrap());
                    for (from, to) in [(stream, other), (two, one)] {
                        let (cut, over) = (Arc::clone(&cut), Arc::clone(&over));
                        std::thread::spawn(move || copy(from, to, &cut, &over));
                    }
                }
            }
        });
        wire
    }

    /// From now on nothing passes and nobody is told.
    pub fn pull(&self, pulled: bool) {
        self.cut.store(pulled, Ordering::Relaxed);
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn copy(mut from: TcpStream, mut to: TcpStream, cut: &AtomicBool, over: &AtomicBool) {
    from.set_read_timeout(Some(Duration::from_millis(50)))
        .unwrap();
    let mut buffer = [0; 16384];
    while !over.load(Ordering::Relaxed) {
        match from.read(&mut buffer) {
            Ok(0) => break,
            // What is sent into a pulled cable is gone, and so is the rest.
            Ok(_) if cut.load(Ordering::Relaxed) => {
                while cut.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_millis(20));
                }
                break;
            }
            Ok(count) => {
                if to.write_all(&buffer[..count]).is_err() {
                    break;
                }
            }
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(_) => break,
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Both);
    let _ = from.shutdown(std::net::Shutdown::Both);
}
