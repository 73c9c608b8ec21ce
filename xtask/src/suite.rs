//! `scripts/test`: one list of checks, one closing line.

use std::io::{BufRead, BufReader};
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::campaigns::power_loss;
use crate::tally::Tally;
use crate::{demo, fuzz, infra, pages, shell, sizes, units, yocto};

/// Power cuts in every run, at the same moments, those of the run that showed an
/// empty SSH host key among them; `cargo xtask campaign cuts` draws others.
const CUTS: u32 = 3;
const SEED: u64 = 644_374_253;

/// What to leave out.
#[derive(clap::Args)]
pub struct Args {
    /// Leave out the chain on the device twin, which takes minutes
    #[arg(long)]
    no_twin: bool,
}

/// Runs all; false if anything failed.
///
/// # Errors
/// A check that could not be run at all.
pub fn run(args: &Args) -> Result<bool> {
    let mut tally = Tally::default();
    for (name, check) in CHECKS {
        let start = Instant::now();
        println!("== {name}");
        let good = check().unwrap_or_else(|error| {
            println!("{error:#}");
            false
        });
        let verdict = if good { "ok" } else { "FAILED" };
        println!(
            "== {name}: {verdict}, {:.1} s",
            start.elapsed().as_secs_f32()
        );
        tally.count(good);
    }
    let start = Instant::now();
    println!("== cargo test");
    tally.add(tests()?);
    println!("== cargo test: {:.1} s", start.elapsed().as_secs_f32());
    if !args.no_twin {
        println!("== the chain on the device twin");
        tally.add(demo::test()?);
        println!("== power cuts of the device twin");
        let cuts = power_loss::run(CUTS, Some(SEED));
        if let Err(error) = &cuts {
            println!("{error:#}");
        }
        tally.count(cuts.is_ok());
    }
    println!("{} passed, {} failed", tally.passed, tally.failed);
    Ok(tally.failed == 0)
}

type Check = fn() -> Result<bool>;

const CHECKS: [(&str, Check); 10] = [
    ("cargo fmt", || {
        good(shell::cargo().args(["fmt", "--all", "--check"]))
    }),
    ("shellcheck", || {
        good(shell::command("shellcheck").args([
            "-x",
            "scripts/setup",
            "scripts/demo",
            "scripts/test",
            "docs/examples/nordvpn/start",
            "docs/examples/nordvpn/nordvpn-login",
            ".ci/run",
        ]))
    }),
    ("cargo clippy", || {
        good(shell::cargo().args([
            "clippy",
            "--quiet",
            "--workspace",
            "--all-targets",
            "--",
            "-D",
            "warnings",
        ]))
    }),
    ("units", units::run),
    ("sizes", sizes::run),
    ("yocto", yocto::check),
    ("infra", infra::run),
    ("docs/cli", pages::check),
    ("signatures before other people's verifiers", interop),
    ("fuzz targets, some seconds each", fuzz::short),
];

/// Apart from the workspace, with a target directory of its own: the sigstore crate
/// brings some 250 others, which ours need not know.
fn interop() -> Result<bool> {
    good(
        shell::cargo()
            .args(["test", "--quiet", "--locked", "--manifest-path"])
            .arg("crates/edge-signature/interop/Cargo.toml")
            .env("CARGO_TARGET_DIR", shell::target()?.join("interop")),
    )
}

fn good(command: &mut std::process::Command) -> Result<bool> {
    let status = command.status().context("running a check")?;
    Ok(status.success())
}

/// Runs every cargo test, shows its output and counts.
fn tests() -> Result<Tally> {
    // Tests run each other's programs, which `cargo test` alone does not build.
    shell::run(shell::cargo().args(["build", "--workspace", "--bins"]))?;
    let mut child = shell::cargo()
        .args(["test", "--workspace", "--no-fail-fast"])
        .stdout(Stdio::piped())
        .spawn()
        .context("running cargo test")?;
    let mut tally = Tally::default();
    if let Some(out) = child.stdout.take() {
        for line in BufReader::new(out).lines() {
            let line = line.context("reading cargo test")?;
            println!("{line}");
            tally.add(result_line(&line).unwrap_or_default());
        }
    }
    if !child.wait()?.success() && tally.failed == 0 {
        tally.failed = 1;
    }
    Ok(tally)
}

/// Reads `test result: ok. 3 passed; 0 failed; …`.
fn result_line(line: &str) -> Option<Tally> {
    let counts = line.strip_prefix("test result: ")?.split_once(". ")?.1;
    let mut numbers = counts
        .split("; ")
        .filter_map(|part| part.split(' ').next()?.parse().ok());
    Some(Tally {
        passed: numbers.next()?,
        failed: numbers.next()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_result_line_of_cargo() {
        let line = "test result: FAILED. 12 passed; 3 failed; 0 ignored; 0 measured";
        let tally = result_line(line).unwrap();
        assert_eq!((tally.passed, tally.failed), (12, 3));
        assert!(result_line("running 3 tests").is_none());
    }
}
