//! Progress of a transfer on standard error: a bar at a terminal, otherwise a log line
//! every ten seconds, and a summary line at the end in both cases.

use std::cell::Cell;
use std::io::IsTerminal;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use edge_common::log;
use indicatif::{ProgressBar, ProgressStyle};

/// Time between two log lines without a terminal, short enough that the log of a CI job
/// shows activity.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// Progress of one transfer: counters, start time and, at a terminal, a bar.
pub(crate) struct Progress {
    label: String,
    total: AtomicU64,
    bytes: AtomicU64,
    start: Instant,
    last_line: Mutex<Cell<Instant>>,
    bar: Option<ProgressBar>,
    /// Whether data are compressed during the transfer. The bar then shows the bytes
    /// read, whose total is known, and the text beside the bar shows the bytes sent.
    compressed: bool,
}

impl Progress {
    /// Starts the progress of a transfer of `total` bytes; `None` if the total is
    /// unknown.
    pub(crate) fn new(label: impl Into<String>, total: Option<u64>) -> Self {
        let form = match total {
            Some(_) => {
                "{msg} [{bar:24}] {decimal_bytes}/{decimal_total_bytes} {decimal_bytes_per_sec}"
            }
            None => "{msg} {spinner} {decimal_bytes} {decimal_bytes_per_sec}",
        };
        Self::with_form(label.into(), total, form, false)
    }

    /// Starts the progress of a compressed transfer, in which about `size` bytes are read
    /// and fewer are sent.
    pub(crate) fn compressed(label: impl Into<String>, size: u64) -> Self {
        Self::with_form(
            label.into(),
            Some(size),
            "{msg} [{bar:24}] {percent} %",
            true,
        )
    }

    fn with_form(label: String, total: Option<u64>, form: &str, compressed: bool) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = total.map_or_else(ProgressBar::new_spinner, ProgressBar::new);
            if let Ok(style) = ProgressStyle::with_template(form) {
                bar.set_style(style.progress_chars("=> "));
            }
            bar.with_message(label.clone())
        });
        Self {
            label,
            total: AtomicU64::new(total.filter(|_| !compressed).unwrap_or(0)),
            bytes: AtomicU64::new(0),
            start: Instant::now(),
            last_line: Mutex::new(Cell::new(Instant::now())),
            bar,
            compressed,
        }
    }

    /// Adds `bytes` to the number of bytes sent, and updates the bar or the log.
    pub(crate) fn add(&self, bytes: u64) {
        let sum = self.bytes.fetch_add(bytes, Ordering::Relaxed) + bytes;
        self.show(sum);
    }

    /// Sets the number of bytes sent and the total, both as reported by a device that
    /// pulls.
    pub(crate) fn set(&self, bytes: u64, total: u64) {
        self.bytes.store(bytes, Ordering::Relaxed);
        self.total.store(total, Ordering::Relaxed);
        if let Some(bar) = &self.bar {
            bar.set_length(total);
        }
        self.show(bytes);
    }

    /// Adds `bytes` to the number of bytes read, which moves the bar of a compressed
    /// transfer.
    pub(crate) fn add_read(&self, bytes: u64) {
        if let Some(bar) = &self.bar {
            // The total is an estimate, so the bar is stopped at its end.
            bar.set_position((bar.position() + bytes).min(bar.length().unwrap_or(0)));
        }
    }

    fn show(&self, sum: u64) {
        if let Some(bar) = &self.bar {
            if self.compressed {
                let (sum, rate) = (amount(sum), self.rate(sum));
                bar.set_message(format!("{}: {sum}, {rate}/s", self.label));
            } else {
                bar.set_position(sum);
            }
            return;
        }
        let Ok(last_line) = self.last_line.lock() else {
            return;
        };
        if last_line.get().elapsed() >= LINE_INTERVAL {
            last_line.set(Instant::now());
            let of = match self.total.load(Ordering::Relaxed) {
                0 => String::new(),
                total => format!(" of {}", amount(total)),
            };
            log::info(format_args!("{}: {}{of}", self.label, amount(sum)));
        }
    }

    /// Removes the bar and logs the bytes sent, the duration and the rate.
    pub(crate) fn finish(self) {
        let bytes = self.bytes.load(Ordering::Relaxed);
        let seconds = self.seconds();
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        log::info(format_args!(
            "{}: {} in {seconds:.1} s, {}/s",
            self.label,
            amount(bytes),
            self.rate(bytes)
        ));
    }

    fn seconds(&self) -> f64 {
        self.start.elapsed().as_secs_f64().max(0.001)
    }

    /// Formats the average rate in bytes per second since the start, as [`amount`] does.
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

/// Removes the bar after an error or Ctrl-C too, so that the error message does not share
/// a line with the bar.
impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// Formats a number of bytes with a decimal unit, for example `12.3 MB`.
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
