//! Fuzzing with libFuzzer: builds and runs the targets of `fuzz/`.

mod corpora;

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use anyhow::{Context, Result, bail};

use crate::shell;

/// Compiler flags for the coverage instrumentation that libFuzzer needs; the stable
/// compiler accepts all of them.
const FLAGS: &str = "--cfg fuzzing -Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares";

/// Options of `cargo xtask fuzz`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Duration for each target in seconds
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Run each seed once, without searching for new inputs
    #[arg(long, conflicts_with = "seconds")]
    replay: bool,
    /// Keep new inputs as seeds: minimise them together with those of fuzz/corpus and
    /// write its archives again
    #[arg(long)]
    keep: bool,
    /// Only unpack the seeds; print their directories and the directories from which
    /// --keep reads new inputs
    #[arg(long, conflicts_with_all = ["seconds", "keep", "replay"])]
    unpack: bool,
    /// Names of fuzz targets [default: all]
    targets: Vec<String>,
}

/// Fuzzes each target for five seconds, as a step of the test suite.
pub(crate) fn short() -> Result<bool> {
    run(&Args {
        seconds: 5,
        replay: false,
        keep: false,
        unpack: false,
        targets: Vec::new(),
    })
}

/// Builds and runs the chosen targets; returns false if any finds an input that fails.
pub(crate) fn run(args: &Args) -> Result<bool> {
    let all = targets()?;
    if let Some(unknown) = args.targets.iter().find(|t| !all.contains(t)) {
        bail!("there is no target {unknown}: see fuzz/fuzz_targets and fuzz/Cargo.toml");
    }
    let chosen = if args.targets.is_empty() {
        &all
    } else {
        &args.targets
    };
    if args.unpack {
        for target in chosen {
            let (seeds, new) = (corpora::unpack(target, true)?, corpora::found(target)?);
            println!("{target:<18} {} {}", seeds.display(), new.display());
        }
        return Ok(true);
    }
    let programs = build()?;
    let limit = if args.replay {
        "-runs=0".to_string()
    } else {
        format!("-max_total_time={}", args.seconds)
    };
    let mut passed = true;
    let at_once = std::thread::available_parallelism().map_or(1, usize::from);
    for some in chosen.chunks(at_once) {
        let start = |target: &String| start(&programs, target, &limit, args);
        let started: Result<Vec<_>> = some.iter().map(start).collect();
        for (target, child) in some.iter().zip(started?) {
            passed &= end(target, child)?;
        }
        shell::going_on()?;
    }
    if args.keep && passed {
        for target in chosen {
            keep(&programs, target)?;
        }
    }
    Ok(passed)
}

/// Returns the names of all fuzz targets: the files in `fuzz/fuzz_targets` without
/// extension.
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

/// Builds all fuzz targets with coverage; returns the directory with their programs.
fn build() -> Result<PathBuf> {
    let version = shell::read(shell::command("rustc").arg("-vV"))?;
    let host = version.lines().find_map(|l| l.strip_prefix("host: "));
    let host = host.context("rustc -vV names no host")?;
    let place = corpora::place()?;
    // With --target, cargo does not use RUSTFLAGS for build scripts and macros, which
    // must not be instrumented.
    shell::run(
        shell::cargo()
            .args(["build", "--quiet", "--release", "--locked", "--bins"])
            .args(["--manifest-path", "fuzz/Cargo.toml", "--target", host])
            .env("CARGO_TARGET_DIR", &place)
            .env("RUSTFLAGS", FLAGS),
    )?;
    Ok(place.join(host).join("release"))
}

fn start(programs: &Path, target: &str, limit: &str, args: &Args) -> Result<Child> {
    let artifacts = corpora::place()?.join("artifacts");
    fs::create_dir_all(&artifacts).context("creating the directory of artifacts")?;
    let mut command = shell::command(programs.join(target));
    command.arg(limit);
    command.args(["-max_len=65536", "-timeout=20", "-rss_limit_mb=1024"]);
    command.arg(format!(
        "-artifact_prefix={}/{target}-",
        artifacts.display()
    ));
    if !args.replay {
        // libFuzzer writes new inputs into the first directory of its arguments.
        command.arg(corpora::found(target)?);
    }
    command.arg(corpora::unpack(target, args.keep)?);
    command.stdin(Stdio::null()).stderr(Stdio::piped());
    let child = command.spawn();
    child.with_context(|| format!("starting {target}"))
}

fn end(target: &str, child: Child) -> Result<bool> {
    let output = child.wait_with_output();
    let output = output.with_context(|| format!("running {target}"))?;
    let log = String::from_utf8_lossy(&output.stderr);
    let is_summary = |l: &&str| l.starts_with("Done ") || l.contains(" DONE ");
    if output.status.success() {
        let summary = log.lines().rfind(is_summary).unwrap_or_default().trim();
        // The targets of the policy count its decisions.
        let decisions = log.lines().rfind(|l| l.starts_with("decisions: "));
        let decisions = decisions.map_or(String::new(), |l| format!("; {l}"));
        println!("{target:<18} {summary}{decisions}");
    } else {
        println!("{target:<18} FOUND SOMETHING\n{log}");
    }
    Ok(output.status.success())
}

/// Packs a minimal set of inputs that reaches the same code as all seeds and new inputs
/// together.
fn keep(programs: &Path, target: &str) -> Result<()> {
    let seeds = corpora::unpack(target, true)?;
    let merged = corpora::merged(target)?;
    let mut merge = shell::command(programs.join(target));
    merge.args(["-merge=1", "-max_len=2048"]);
    shell::read(merge.args([&merged, &seeds, &corpora::found(target)?]))?;
    corpora::copy_named(&seeds, &merged)?;
    let count = corpora::pack(target, &merged)?;
    println!("{target:<18} {count} seeds kept");
    Ok(())
}
