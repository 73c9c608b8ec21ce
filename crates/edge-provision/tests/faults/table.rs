//! The matrix: each case is run, checked, mended and run again.

use std::fs;
use std::process::Command;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use edge_sim::testbed::{self, DeviceRoot};

/// Seconds that a run may try in these cases.
pub const BUDGET: u64 = 25;
/// The budget, and the documented minute of the last try.
const LIMIT: Duration = Duration::from_secs(BUDGET + 60);

/// What is printed for a case.
pub struct Row {
    pub name: String,
    pub seconds: f32,
    pub code: i32,
    pub said: String,
    pub disk: String,
    pub next: i32,
}

#[derive(Default)]
pub struct Table(Mutex<Vec<Row>>);

impl Table {
    /// Runs the device now, checks the end, mends what was wrong, runs again.
    pub fn row(
        &self,
        name: &str,
        device: &DeviceRoot,
        code: i32,
        words: &str,
        mut run: Command,
        mend: impl FnOnce(),
    ) {
        let begin = Instant::now();
        let (ended, said) = testbed::run(&mut run);
        let taken = begin.elapsed();
        let last = said.lines().last().unwrap_or_default().to_string();
        assert!(said.contains(words), "{name}: {said}");
        assert_eq!(ended, code, "{name}: {said}");
        assert!(taken < LIMIT, "{name}: {taken:?}");
        for secret in ["PRIVATE KEY", "BEGIN CERT"] {
            assert!(!said.contains(secret), "{name} tells a secret: {said}");
        }
        let disk = device.files();
        let key = fs::read(device.path("data/config/aws-iot/private.key")).ok();
        mend();
        let (next, again) = device.provision(&["--budget", "60"]);
        assert_eq!(next, 0, "{name}, the next boot: {again}");
        assert_eq!(
            device.files(),
            "config.json device.crt private.key",
            "{name}"
        );
        let kept = fs::read(device.path("data/config/aws-iot/private.key")).ok();
        assert!(key.is_none() || key == kept, "{name}: another key");
        let row = Row {
            name: name.into(),
            seconds: taken.as_secs_f32(),
            code,
            said: last.trim_start_matches("edge-provision: ").into(),
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
            said,
            disk,
            next,
        } in rows
        {
            let said: String = said.chars().take(90).collect();
            println!("{name:<33} {seconds:>6.1} {code:>4} {disk:<42} {next:>4}  {said}");
        }
    }
}
