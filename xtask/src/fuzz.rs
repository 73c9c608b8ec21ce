//! Fuzzing: every target of `fuzz/`, or those that are named.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use anyhow::{Context, Result, bail};

use crate::shell;

/// Coverage as libFuzzer wants it; these flags are stable ones.
const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";

/// What is fuzzed, and how long.
#[derive(clap::Args)]
pub struct Args {
    /// Seconds for each target
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// Keep what was found as seeds: merge it into fuzz/corpus
    #[arg(long)]
    keep: bool,
    /// Targets [default: all]
    targets: Vec<String>,
}

/// A few seconds for each, for the suite.
///
/// # Errors
/// As [`run`].
pub fn short() -> Result<bool> {
    run(&Args {
        seconds: 5,
        keep: false,
        targets: Vec::new(),
    })
}

/// Builds and runs; false if one found something.
///
/// # Errors
/// The build not working, or no such target.
pub fn run(args: &Args) -> Result<bool> {
    let all = targets()?;
    let chosen: Vec<_> = if args.targets.is_empty() {
        all
    } else {
        args.targets.clone()
    };
    let programs = build()?;
    let mut good = true;
    let at_once = std::thread::available_parallelism().map_or(1, usize::from);
    for some in chosen.chunks(at_once) {
        let started: Result<Vec<_>> = some
            .iter()
            .map(|target| start(&programs, target, args.seconds))
            .collect();
        for (target, child) in some.iter().zip(started?) {
            good &= end(target, child)?;
        }
        shell::going_on()?;
    }
    if args.keep && good {
        for target in &chosen {
            merge(&programs, target)?;
        }
    }
    Ok(good)
}

/// Names of the files in `fuzz_targets`.
fn targets() -> Result<Vec<String>> {
    let directory = shell::repository().join("fuzz/fuzz_targets");
    let mut names = Vec::new();
    for entry in fs::read_dir(&directory).context("reading fuzz/fuzz_targets")? {
        let path = entry?.path();
        if path.extension() == Some(OsStr::new("rs")) {
            names.extend(path.file_stem().map(|s| s.to_string_lossy().into_owned()));
        }
    }
    names.sort();
    Ok(names)
}

/// Where the target directory's own part for fuzzing lies.
fn place() -> Result<PathBuf> {
    Ok(shell::target()?.join("fuzz"))
}

/// Builds all targets; gives the directory with the programs.
fn build() -> Result<PathBuf> {
    let said = shell::read(shell::command("rustc").arg("-vV"))?;
    let host = said.lines().find_map(|l| l.strip_prefix("host: "));
    let host = host.context("asking rustc for its host")?;
    // With --target, build scripts and macros are built without coverage.
    shell::run(
        shell::cargo()
            .args(["build", "--quiet", "--release", "--locked", "--bins"])
            .args(["--manifest-path", "fuzz/Cargo.toml", "--target", host])
            .env("CARGO_TARGET_DIR", place()?)
            .env("RUSTFLAGS", FLAGS),
    )?;
    Ok(place()?.join(host).join("release"))
}

/// Seeds of the repository, and the directory for what is found beside them.
fn corpora(target: &str) -> Result<[PathBuf; 2]> {
    let found = place()?.join("corpus").join(target);
    let seeds = shell::repository().join("fuzz/corpus").join(target);
    for directory in [&found, &seeds] {
        fs::create_dir_all(directory)
            .with_context(|| format!("creating {}", directory.display()))?;
    }
    Ok([found, seeds])
}

fn start(programs: &Path, target: &str, seconds: u32) -> Result<Child> {
    let program = programs.join(target);
    if !program.exists() {
        bail!("there is no target {target}: see fuzz/fuzz_targets and fuzz/Cargo.toml");
    }
    let [found, seeds] = corpora(target)?;
    let artifacts = place()?.join("artifacts");
    fs::create_dir_all(&artifacts).context("creating the directory of artifacts")?;
    shell::command(program)
        .arg(format!("-max_total_time={seconds}"))
        .args(["-max_len=65536", "-timeout=20", "-rss_limit_mb=1024"])
        .arg(format!(
            "-artifact_prefix={}/{target}-",
            artifacts.display()
        ))
        .args([found, seeds])
        .stdin(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("starting {target}"))
}

fn end(target: &str, child: Child) -> Result<bool> {
    let output = child
        .wait_with_output()
        .with_context(|| format!("running {target}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said
        .lines()
        .rfind(|l| l.starts_with("Done ") || l.contains(" DONE "));
    if output.status.success() {
        println!("{target:<18} {}", last.unwrap_or_default().trim());
    } else {
        println!("{target:<18} FOUND SOMETHING\n{said}");
    }
    Ok(output.status.success())
}

/// Takes into the repository what reaches more than the seeds do.
fn merge(programs: &Path, target: &str) -> Result<()> {
    let [found, seeds] = corpora(target)?;
    shell::read(
        shell::command(programs.join(target))
            .args(["-set_cover_merge=1", "-max_len=2048"])
            .args([seeds, found]),
    )
    .map(|_| ())
}
