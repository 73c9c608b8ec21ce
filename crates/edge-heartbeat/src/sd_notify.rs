//! Notifications to systemd, sd_notify(3).

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

/// Interval of watchdog notifications without a watchdog.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(60);

/// Socket of the service manager, if there is one.
pub(crate) struct Notifier {
    address: Option<SocketAddr>,
    interval: Duration,
}

impl Notifier {
    /// Reads `$NOTIFY_SOCKET` and `$WATCHDOG_USEC`.
    pub(crate) fn from_environment() -> Self {
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
        // A third, so that one late notification does not end the service.
        let interval = watchdog.map_or(DEFAULT_INTERVAL, |v| Duration::from_micros(v) / 3);
        Self { address, interval }
    }

    fn send(&self, message: &str) {
        let Some(address) = &self.address else {
            return;
        };
        if let Ok(socket) = UnixDatagram::unbound() {
            let _ = socket.send_to_addr(message.as_bytes(), address);
        }
    }

    /// Reports that the service is up.
    pub(crate) fn ready(&self) {
        self.send("READY=1");
    }

    /// Sets the line that `systemctl status` shows.
    pub(crate) fn status(&self, status: &str) {
        self.send(&format!("STATUS={status}\nWATCHDOG=1"));
    }

    /// Notifies the watchdog.
    pub(crate) fn alive(&self) {
        self.send("WATCHDOG=1");
    }

    /// Returns the longest time between two notifications.
    pub(crate) fn interval(&self) -> Duration {
        self.interval
    }

    /// Sleeps for `time` and notifies the watchdog meanwhile.
    pub(crate) fn sleep(&self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.alive();
            let left = end.saturating_duration_since(Instant::now());
            std::thread::sleep(self.interval.min(left));
        }
    }
}
