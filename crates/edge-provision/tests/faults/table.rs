//! Table of the faults: each is run, checked, repaired and run again.

use std::fs;
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use edge_sim::testbed::{self, DeviceRoot};

/// Budget of a run, in seconds.
pub const BUDGET: u64 = 25;
/// Longest run: the budget, and the documented minute of the last attempt.
const LIMIT: Duration = Duration::from_secs(BUDGET + 60);

/// Row of the printed table.
pub struct Row {
    pub name: String,
    pub seconds: f32,
    pub code: i32,
    pub message: String,
    pub disk: String,
    pub next: i32,
}

#[derive(Default)]
pub struct Table(Mutex<Vec<Row>>);

impl Table {
    /// Runs the device, checks the result, repairs the fault, and runs the device again.
    pub fn row(
        &self,
        name: &str,
        device: &DeviceRoot,
        code: i32,
        message: &str,
        mut run: Command,
        repair: impl FnOnce(),
    ) {
        let begin = Instant::now();
        let (exit_code, output) = testbed::run(&mut run);
        let duration = begin.elapsed();
        let last = output.lines().last().unwrap_or_default().to_string();
        assert!(output.contains(message), "{name}: {output}");
        assert_eq!(exit_code, code, "{name}: {output}");
        assert!(duration < LIMIT, "{name}: {duration:?}");
        for secret in ["PRIVATE KEY", "BEGIN CERT"] {
            assert!(!output.contains(secret), "{name} leaks a secret: {output}");
        }
        let disk = device.files();
        let key = fs::read(device.path("data/config/aws-iot/private.key")).ok();
        repair();
        let (next, output) = device.provision(&["--budget", "60"]);
        assert_eq!(next, 0, "{name}, the next boot: {output}");
        assert_eq!(
            device.files(),
            "config.json device.crt private.key",
            "{name}"
        );
        let kept = fs::read(device.path("data/config/aws-iot/private.key")).ok();
        assert!(key.is_none() || key == kept, "{name}: another key");
        let row = Row {
            name: name.into(),
            seconds: duration.as_secs_f32(),
            code,
            message: last.trim_start_matches("edge-provision: ").into(),
            disk,
            next,
        };
        self.add(row);
    }

    pub fn add(&self, row: Row) {
        self.0.lock().unwrap().push(row);
    }

    pub fn print(self) {
        let mut rows = self.0.into_inner().unwrap();
        rows.sort_by(|a, b| a.name.cmp(&b.name));
        println!(
            "{:<33} {:>6} {:>4} {:<42} {:>4}  message",
            "fault", "s", "code", "on disk after", "next"
        );
        for Row {
            name,
            seconds,
            code,
            message,
            disk,
            next,
        } in rows
        {
            let message: String = message.chars().take(90).collect();
            println!("{name:<33} {seconds:>6.1} {code:>4} {disk:<42} {next:>4}  {message}");
        }
    }
}
