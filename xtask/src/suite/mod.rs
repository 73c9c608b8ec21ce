//! Test suite (`scripts/test`): runs all checks and tests, and prints a table of their
//! durations and a summary line.

mod programs;

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::campaigns::power_loss;
use crate::leftovers::Before;
use crate::tally::Tally;
use crate::{demo, dependencies, fuzz, infra, measure, pages, shell, sizes, units, yocto};

/// Number of power losses in every run of the suite. The seed fixes their moments, among
/// them the one that once caused an empty SSH host key; `cargo xtask campaign power-loss`
/// chooses new moments.
const POWER_LOSSES: u32 = 3;
const SEED: u64 = 644_374_253;

/// Minimum duration for a row of its own in the table of durations.
const MIN_COST: Duration = Duration::from_secs(1);

/// Options of `cargo xtask test`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Skip the steps on the test VM, which take minutes
    #[arg(long, alias = "no-twin")]
    no_vm: bool,
    /// Run only the checks and test programs whose name contains TEXT, for example
    /// `edge-vpn`
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
}

type Check = fn() -> Result<bool>;

/// Checks of `cargo xtask check`, which need neither root nor a container engine.
const QUICK: [(&str, Check); 5] = [
    ("cargo fmt", || {
        passes(shell::cargo().args(["fmt", "--all", "--check"]))
    }),
    ("shellcheck", shellcheck),
    ("form and language", measure::check),
    ("rust-version", dependencies::check_rust_version),
    ("cargo clippy", || {
        let clippy = ["clippy", "--quiet", "--workspace", "--all-targets"];
        passes(shell::cargo().args(clippy).args(["--", "-D", "warnings"]))
    }),
];

/// All other checks. Those that run built programs come after `build`.
const CHECKS: [(&str, Check); 9] = [
    ("cargo deny", dependencies::deny),
    ("build", programs::build),
    ("units", units::run),
    ("sizes", sizes::run),
    ("yocto", yocto::check),
    ("infra", infra::run),
    ("docs/cli and docs/man", pages::check),
    ("signatures, by verifiers of others", interop),
    ("fuzz targets, some seconds each", fuzz::short),
];

/// Results and durations of all checks and tests.
#[derive(Default)]
struct Report {
    tally: Tally,
    rows: Vec<(Duration, String, bool)>,
}

/// Runs the quick checks; returns false if any fails.
pub(crate) fn quick() -> Result<bool> {
    let mut report = Report::default();
    for (name, check) in QUICK {
        report.check(name, check);
        shell::going_on()?;
    }
    Ok(report.close())
}

/// Runs all checks and tests, or those selected by name; returns false if any fails.
pub(crate) fn run(args: &Args) -> Result<bool> {
    let before = Before::note()?;
    let mut report = Report::default();
    let chosen = |name: &str| args.only.as_ref().is_none_or(|text| name.contains(text));
    for (name, check) in QUICK.into_iter().chain(CHECKS) {
        if chosen(name) {
            report.check(name, check);
        }
        shell::going_on()?;
    }
    println!("== tests");
    for outcome in programs::run(chosen)? {
        let passed = outcome.tally.failed == 0;
        let name = format!("test {}", outcome.name);
        report.add(&name, outcome.tally, outcome.time, passed);
    }
    let demo = "demo and more";
    if !args.no_vm && chosen(demo) {
        println!("== {demo}, on the test VM");
        let start = Instant::now();
        let tally = demo::test()?;
        report.add(demo, tally, start.elapsed(), tally.failed == 0);
    }
    let losses = "power losses";
    if !args.no_vm && chosen(losses) {
        report.check(losses, || {
            power_loss::run(POWER_LOSSES, Some(SEED)).map(|()| true)
        });
    }
    report.check("nothing left behind", || before.compare());
    Ok(report.close())
}

impl Report {
    /// Runs a check, prints and counts its result. A check that returns an error has
    /// failed.
    fn check(&mut self, name: &str, check: impl FnOnce() -> Result<bool>) {
        let start = Instant::now();
        println!("== {name}");
        let passed = check().unwrap_or_else(|error| {
            println!("{error:#}");
            false
        });
        let time = start.elapsed();
        println!(
            "== {name}: {}, {:.1} s",
            verdict(passed),
            time.as_secs_f32()
        );
        let mut tally = Tally::default();
        tally.count(passed);
        self.add(name, tally, time, passed);
    }

    fn add(&mut self, name: &str, tally: Tally, time: Duration, passed: bool) {
        self.tally.add(tally);
        self.rows.push((time, name.into(), passed));
    }

    /// Prints the table of durations and the summary line; returns false if anything
    /// failed.
    fn close(mut self) -> bool {
        self.rows.sort_by_key(|row| std::cmp::Reverse(row.0));
        let all: f32 = self.rows.iter().map(|(time, ..)| time.as_secs_f32()).sum();
        println!("== costs in seconds; the tests run several at once");
        for (time, name, passed) in &self.rows {
            if *passed && *time < MIN_COST {
                continue;
            }
            let failed = if *passed { "" } else { "  FAILED" };
            println!("{:>7.1}  {name}{failed}", time.as_secs_f32());
        }
        println!("{all:>7.1}  in all");
        println!("{} passed, {} failed", self.tally.passed, self.tally.failed);
        self.tally.failed == 0
    }
}

fn verdict(passed: bool) -> &'static str {
    if passed { "ok" } else { "FAILED" }
}

fn shellcheck() -> Result<bool> {
    passes(shell::command("shellcheck").args([
        "-x",
        "scripts/setup",
        "scripts/demo",
        "scripts/test",
        "docs/examples/nordvpn/start",
        "docs/examples/nordvpn/nordvpn-login",
        ".ci/run",
    ]))
}

/// Runs the interoperability tests of edge-signature. They are outside of the workspace,
/// with a separate target directory: the sigstore crate has some 250 dependencies that
/// must not be in the workspace's lock file.
fn interop() -> Result<bool> {
    passes(
        shell::cargo()
            .args(["test", "--quiet", "--locked", "--manifest-path"])
            .arg("crates/edge-signature/interop/Cargo.toml")
            .env("CARGO_TARGET_DIR", shell::target()?.join("interop")),
    )
}

fn passes(command: &mut std::process::Command) -> Result<bool> {
    let status = command.status().context("running a check")?;
    Ok(status.success())
}
