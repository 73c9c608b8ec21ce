//! How far a transfer is: a bar at a terminal; elsewhere a line now and then, and
//! one at the end in any case.

use std::cell::Cell;
use std::io::IsTerminal;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use edge_common::log;
use indicatif::{ProgressBar, ProgressStyle};

/// Between two lines where there is no terminal.
const PAUSE: Duration = Duration::from_secs(10);

/// A transfer that is under way.
pub(crate) struct Progress {
    what: String,
    total: AtomicU64,
    bytes: AtomicU64,
    start: Instant,
    told: Mutex<Cell<Instant>>,
    bar: Option<ProgressBar>,
    /// The bar shows what goes in, its words what comes out.
    packed: bool,
}

impl Progress {
    /// Of `what`, `total` bytes if that is known.
    pub(crate) fn new(what: impl Into<String>, total: Option<u64>) -> Self {
        let form = match total {
            Some(_) => {
                "{msg} [{bar:24}] {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec}"
            }
            None => "{msg} {spinner} {decimal_bytes} {decimal_bytes_per_sec}",
        };
        Self::with_form(what.into(), total, form, false)
    }

    /// Of `what`, for which about `size` bytes are read, and fewer sent.
    pub(crate) fn packed(what: impl Into<String>, size: u64) -> Self {
        Self::with_form(
            what.into(),
            Some(size),
            "{msg} [{bar:24}] {percent} %",
            true,
        )
    }

    fn with_form(what: String, total: Option<u64>, form: &str, packed: bool) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = total.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
            if let Ok(style) = ProgressStyle::with_template(form) {
                bar.set_style(style.progress_chars("=> "));
            }
            bar.with_message(what.clone())
        });
        Self {
            what,
            total: AtomicU64::new(total.filter(|_| !packed).unwrap_or(0)),
            bytes: AtomicU64::new(0),
            start: Instant::now(),
            told: Mutex::new(Cell::new(Instant::now())),
            bar,
            packed,
        }
    }

    /// So many bytes more.
    pub(crate) fn add(&self, bytes: u64) {
        let sum = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.tell(sum);
    }

    /// So many bytes in all, of a total that has become known.
    pub(crate) fn reach(&self, bytes: u64, total: u64) {
        self.bytes.store(bytes, Ordering::Relaxed);
        self.total.store(total, Ordering::Relaxed);
        if let Some(bar) = &self.bar {
            bar.set_length(total);
        }
        self.tell(bytes);
    }

    /// So many bytes more were read.
    pub(crate) fn read(&self, bytes: u64) {
        if let Some(bar) = &self.bar {
            // The size was about right.
            bar.set_position((bar.position() + bytes).min(bar.length().unwrap_or(0)));
        }
    }

    fn tell(&self, sum: u64) {
        if let Some(bar) = &self.bar {
            if self.packed {
                let (sum, rate) = (amount(sum), self.rate(sum));
                bar.set_message(format!("{}: {sum}, {rate}/s", self.what));
            } else {
                bar.set_position(sum);
            }
            return;
        }
        let Ok(told) = self.told.lock() else { return };
        if told.get().elapsed() >= PAUSE {
            told.set(Instant::now());
            let of = match self.total.load(Ordering::Relaxed) {
                0 => String::new(),
                total => format!(" of {}", amount(total)),
            };
            log::info(format_args!("{}: {}{of}", self.what, amount(sum)));
        }
    }

    /// Done: says how much in how long.
    pub(crate) fn done(self) {
        let bytes = self.bytes.load(Ordering::Relaxed);
        let seconds = self.seconds();
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        log::info(format_args!(
            "{}: {} in {seconds:.1} s, {}/s",
            self.what,
            amount(bytes),
            self.rate(bytes)
        ));
    }

    fn seconds(&self) -> f64 {
        self.start.elapsed().as_secs_f64().max(0.001)
    }

    /// Of `bytes` since the start, in a second.
    fn rate(&self, bytes: u64) -> String {
        #[expect(clippy::cast_precision_loss, reason = "a rate is rounded anyway")]
        let rate = bytes as f64 / self.seconds();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "positive"
        )]
        amount(rate as u64)
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// `12.3 MB`
pub(crate) fn amount(bytes: u64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "rounded anyway")]
    let number = bytes as f64;
    match bytes {
        0..1_000 => format!("{bytes} B"),
        1_000..1_000_000 => format!("{:.1} kB", number / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", number / 1e6),
        _ => format!("{:.2} GB", number / 1e9),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts() {
        for (bytes, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "1.0 kB"),
            (12_345_678, "12.3 MB"),
            (2_500_000_000, "2.50 GB"),
        ] {
            assert_eq!(amount(bytes), text);
        }
    }
}
