//! Words to systemd, sd_notify(3).

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

/// The way to the service manager, if one listens.
pub struct Notify {
    address: Option<SocketAddr>,
    beat: Duration,
}

impl Notify {
    /// As `$NOTIFY_SOCKET` and `$WATCHDOG_USEC` say.
    pub fn from_environment() -> Self {
        let path = std::env::var("NOTIFY_SOCKET").unwrap_or_default();
        let address = match path.strip_prefix('@') {
            Some(name) => SocketAddr::from_abstract_name(name).ok(),
            None => SocketAddr::from_pathname(&path)
                .ok()
                .filter(|_| !path.is_empty()),
        };
        let watchdog = std::env::var("WATCHDOG_USEC")
            .ok()
            .and_then(|v| v.parse().ok());
        let beat = watchdog.map_or(Duration::from_secs(60), |v| Duration::from_micros(v) / 3);
        Self { address, beat }
    }

    fn tell(&self, words: &str) {
        let Some(address) = &self.address else {
            return;
        };
        if let Ok(socket) = UnixDatagram::unbound() {
            let _ = socket.send_to_addr(words.as_bytes(), address);
        }
    }

    /// The service is up.
    pub fn ready(&self) {
        self.tell("READY=1");
    }

    /// One line for `systemctl status`.
    pub fn status(&self, words: &str) {
        self.tell(&format!("STATUS={words}\nWATCHDOG=1"));
    }

    /// The service is alive.
    pub fn alive(&self) {
        self.tell("WATCHDOG=1");
    }

    /// How often to say so.
    pub fn beat(&self) -> Duration {
        self.beat
    }

    /// Sleeps, alive.
    pub fn sleep(&self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.alive();
            std::thread::sleep(self.beat.min(end.saturating_duration_since(Instant::now())));
        }
    }
}
