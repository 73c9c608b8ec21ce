//! Tests of the workspace: all test programs are built once and then run in parallel.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;

use crate::shell;
use crate::tally::Tally;

/// Name of the doc tests in the list of test programs.
const DOCUMENTATION: &str = "documentation";

/// Test program that cargo built.
struct Program {
    /// Name of the crate and the target, for example `edge-vpn wireguard`.
    name: String,
    path: PathBuf,
    /// Directory of the crate, which is the working directory of its tests, as with
    /// cargo.
    directory: PathBuf,
}

/// Result of one run of a test program.
pub(super) struct Outcome {
    pub(super) name: String,
    pub(super) tally: Tally,
    pub(super) time: Duration,
}

/// Builds all programs, examples and tests of the workspace in a way that shares all
/// compiled crates; returns false if anything does not compile.
pub(super) fn build() -> Result<bool> {
    // Tests run programs of other crates, which `cargo test` alone does not build.
    let mut bins = shell::cargo();
    bins.args(["build", "--quiet", "--workspace", "--bins"]);
    let mut tests = shell::cargo();
    tests.args(["test", "--quiet", "--workspace", "--no-run"]);
    Ok(bins.status()?.success() && tests.status()?.success())
}

/// Runs the chosen test programs in parallel, and the doc tests if they are chosen.
pub(super) fn run(chosen: impl Fn(&str) -> bool) -> Result<Vec<Outcome>> {
    let mut programs = programs()?;
    programs.retain(|program| chosen(&program.name));
    let (queue, outcomes) = (Mutex::new(VecDeque::from(programs)), Mutex::new(Vec::new()));
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| -> Result<()> {
        let work = || -> Result<()> {
            // The lock must be released before the test runs, or the other threads would
            // wait.
            while let Some(program) = { queue.lock().map_or(None, |mut q| q.pop_front()) } {
                shell::going_on()?;
                let outcome = program.run()?;
                outcomes.lock().map(|mut all| all.push(outcome)).ok();
            }
            Ok(())
        };
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        for thread in threads {
            match thread.join() {
                Ok(result) => result?,
                Err(_) => bail!("a thread that runs tests panicked"),
            }
        }
        Ok(())
    })?;
    let mut outcomes = outcomes.into_inner().unwrap_or_default();
    if chosen(DOCUMENTATION) {
        outcomes.push(documentation()?);
    }
    Ok(outcomes)
}

/// Returns all test programs, according to cargo's JSON messages.
fn programs() -> Result<Vec<Program>> {
    let mut cargo = shell::cargo();
    cargo.args(["test", "--quiet", "--workspace", "--no-run"]);
    // Compiler errors are printed to the terminal as readable text.
    cargo.arg("--message-format=json-render-diagnostics");
    let output = shell::output(cargo.stderr(Stdio::inherit()))?;
    ensure!(
        output.status.success(),
        "building the tests: {}",
        output.status
    );
    let messages = String::from_utf8(output.stdout).context("reading cargo's messages")?;
    let mut programs = Vec::new();
    for line in messages.lines() {
        let message: Value = serde_json::from_str(line).context("parsing cargo's messages")?;
        if message["profile"]["test"] != true {
            continue;
        }
        let text = |value: &Value| value.as_str().map(String::from);
        let (Some(path), Some(manifest), Some(target)) = (
            text(&message["executable"]),
            text(&message["manifest_path"]),
            text(&message["target"]["name"]),
        ) else {
            continue;
        };
        let directory = Path::new(&manifest).with_file_name("");
        let package = directory.file_name().context("a crate's directory")?;
        let package = package.to_string_lossy();
        let kind = message["target"]["kind"][0].as_str();
        let name = match kind.filter(|k| *k != "test") {
            Some(kind) => format!("{package} ({kind})"),
            None => format!("{package} {target}"),
        };
        let path = path.into();
        programs.push(Program {
            name,
            path,
            directory,
        });
    }
    Ok(programs)
}

impl Program {
    fn run(&self) -> Result<Outcome> {
        let start = Instant::now();
        let mut command = shell::command(&self.path);
        command.current_dir(&self.directory).stdin(Stdio::null());
        command.env("CARGO_MANIFEST_DIR", &self.directory);
        let output = shell::output(&mut command)?;
        let (stdout, stderr) = (&output.stdout, &output.stderr);
        let printed = String::from_utf8_lossy(stdout);
        let mut tally = count(&printed);
        if !output.status.success() && tally.failed == 0 {
            tally.failed = 1;
        }
        let name = self.name.clone();
        let time = start.elapsed();
        println!(
            "-- {name}: {} passed, {} failed, {:.1} s",
            tally.passed,
            tally.failed,
            time.as_secs_f32()
        );
        if tally.failed > 0 {
            println!("{printed}{}", String::from_utf8_lossy(stderr));
        }
        Ok(Outcome { name, tally, time })
    }
}

/// Runs the doc tests of the workspace and counts their results.
fn documentation() -> Result<Outcome> {
    let start = Instant::now();
    let output = shell::output(shell::cargo().args(["test", "--workspace", "--doc"]))?;
    let mut tally = count(&String::from_utf8_lossy(&output.stdout));
    if !output.status.success() {
        println!("{}", shell::tail(&output));
        tally.failed = tally.failed.max(1);
    }
    Ok(Outcome {
        name: DOCUMENTATION.into(),
        tally,
        time: start.elapsed(),
    })
}

/// Adds up the numbers in lines such as `test result: ok. 3 passed; 0 failed; …`.
fn count(printed: &str) -> Tally {
    let mut tally = Tally::default();
    for line in printed.lines() {
        let Some(counts) = line
            .strip_prefix("test result: ")
            .and_then(|l| l.split_once(". "))
        else {
            continue;
        };
        let mut numbers = counts
            .1
            .split("; ")
            .filter_map(|part| part.split(' ').next()?.parse().ok());
        tally.add(Tally {
            passed: numbers.next().unwrap_or(0),
            failed: numbers.next().unwrap_or(0),
        });
    }
    tally
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn adds_up_the_results_of_test_programs() {
        let printed = "running 3 tests\ntest result: FAILED. 12 passed; 3 failed; 0 ignored\n\
            test result: ok. 2 passed; 0 failed; 1 ignored; finished in 0.1s\n";
        let tally = count(printed);
        assert_eq!((tally.passed, tally.failed), (14, 3));
        assert_eq!(count("running 3 tests").passed, 0);
    }
}
