//! Timing, and rows of the tables of the benchmarks.
#![allow(dead_code)]

use std::time::{Duration, Instant};

/// Returns the duration of `work`.
pub fn time(work: impl FnOnce()) -> Duration {
    let start = Instant::now();
    work();
    start.elapsed()
}

/// Returns the median, in milliseconds.
pub fn median(mut times: Vec<Duration>) -> f64 {
    times.sort();
    times[times.len() / 2].as_secs_f64() * 1000.0
}

/// Measured value.
pub struct Row<'a> {
    what: &'a str,
    value: f64,
    unit: &'a str,
}

impl<'a> Row<'a> {
    /// Prints the head of the table.
    pub fn head() {
        println!("{:<34} {:>11} {:>11}", "", "measured", "limit");
    }

    /// Returns a row of the table.
    pub fn new(what: &'a str, value: f64, unit: &'a str) -> Self {
        Self { what, value, unit }
    }

    /// Prints the row, and whether a limit is missed.
    pub fn print(&self, limit: Option<f64>) {
        let Self { what, value, unit } = self;
        let digits = usize::from(*value < 10.0) * 2;
        let value_text = format!("{value:.digits$} {unit}");
        let limit_text = limit.map_or(String::new(), |limit| format!("{limit} {unit}"));
        let missed = match limit {
            Some(limit) if *value > limit => "   missed",
            _ => "",
        };
        println!("{what:<34} {value_text:>11} {limit_text:>11}{missed}");
    }
}
