//! Notifications to systemd as in sd_notify(3): readiness, status line and watchdog.

use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::time::{Duration, Instant};

/// Interval of notifications if systemd has not enabled a watchdog.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(60);

/// Notification socket of systemd, if there is one, and the interval of notifications.
pub(crate) struct Notifier {
    address: Option<SocketAddr>,
    interval: Duration,
}

impl Notifier {
    /// Reads the socket from `$NOTIFY_SOCKET` and the watchdog's timeout from
    /// `$WATCHDOG_USEC`.
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
        // A third of the timeout, so that systemd does not restart the service for one
        // late notification.
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

    /// Notifies systemd that the start of the service is complete (`READY=1`).
    pub(crate) fn ready(&self) {
        self.send("READY=1");
    }

    /// Sets the status line of `systemctl status`, and notifies the watchdog.
    pub(crate) fn status(&self, status: &str) {
        self.send(&format!("STATUS={status}\nWATCHDOG=1"));
    }

    /// Notifies the watchdog that the service still works (`WATCHDOG=1`).
    pub(crate) fn alive(&self) {
        self.send("WATCHDOG=1");
    }

    /// Returns the longest time that may pass between two watchdog notifications.
    pub(crate) fn interval(&self) -> Duration {
        self.interval
    }

    /// Sleeps for `time`, and notifies the watchdog at every interval meanwhile.
    pub(crate) fn sleep(&self, time: Duration) {
        let end = Instant::now() + time;
        while Instant::now() < end {
            self.alive();
            let left = end.saturating_duration_since(Instant::now());
            std::thread::sleep(self.interval.min(left));
        }
    }
}
