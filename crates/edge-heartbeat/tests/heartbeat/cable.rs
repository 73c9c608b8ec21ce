//! Network cable that can be unplugged: a forwarder from one port to another.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Forwarder that works until it is dropped.
pub struct Cable {
    pub port: u16,
    unplugged: Arc<AtomicBool>,
    stopped: Arc<AtomicBool>,
}

impl Cable {
    pub fn to(port: u16) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let cable = Self {
            port: listener.local_addr().unwrap().port(),
            unplugged: Arc::default(),
            stopped: Arc::default(),
        };
        let (unplugged, stopped) = (Arc::clone(&cable.unplugged), Arc::clone(&cable.stopped));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                // Without a broker the stream is closed, as by a host without one.
                if let Ok(other) = TcpStream::connect(("127.0.0.1", port)) {
                    let (one, two) = (stream.try_clone().unwrap(), other.try_clone().unwrap());
                    for (from, to) in [(stream, other), (two, one)] {
                        let unplugged = Arc::clone(&unplugged);
                        let stopped = Arc::clone(&stopped);
                        std::thread::spawn(move || copy(from, to, &unplugged, &stopped));
                    }
                }
            }
        });
        cable
    }

    /// Unplugs the cable, or plugs it in again. While it is unplugged nothing passes and
    /// neither side notices.
    pub fn unplug(&self, unplugged: bool) {
        self.unplugged.store(unplugged, Ordering::Relaxed);
    }
}

impl Drop for Cable {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(("127.0.0.1", self.port));
    }
}

fn copy(mut from: TcpStream, mut to: TcpStream, unplugged: &AtomicBool, stopped: &AtomicBool) {
    from.set_read_timeout(Some(Duration::from_millis(50)))
        .unwrap();
    let mut buffer = [0; 16384];
    while !stopped.load(Ordering::Relaxed) {
        match from.read(&mut buffer) {
            Ok(0) => break,
            // Bytes for an unplugged cable are lost, and the connection with them.
            Ok(_) if unplugged.load(Ordering::Relaxed) => {
                while unplugged.load(Ordering::Relaxed) {
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
