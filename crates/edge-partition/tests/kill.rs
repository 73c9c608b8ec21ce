//! `edge-partition` and each of its helpers, killed at every system call as by a power
//! loss, then run again: the file system is whole each time, and the data are there.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicUsize, Ordering};

use clap::Parser;
use edge_common::Root;
use rustix::process::{Pid, Signal, kill_process_group};

const SIZE: u64 = 24 * 1024 * 1024;
/// Large enough for a second copy of the superblock, which e2fsck writes separately.
const GROWING: u64 = 160 * 1024 * 1024;
const HELPERS: [&str; 6] = [
    "blkid",
    "mkfs.ext4",
    "tune2fs",
    "e2fsck",
    "e2undo",
    "resize2fs",
];

fn find(name: &str) -> PathBuf {
    let places = ["/usr/sbin", "/usr/bin", "/sbin"].map(|p| Path::new(p).join(name));
    let place = places.into_iter().find(|p| p.exists());
    place.unwrap_or_else(|| panic!("{name} is missing: run scripts/setup"))
}

fn partition(image: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_edge-partition"));
    command.args(["--timeout", "0", "--device"]).arg(image);
    command.output().unwrap()
}

/// System call of a program: the `nth` one of its name, as strace counts.
struct Point {
    name: String,
    nth: usize,
}

impl Point {
    fn strace_option(&self) -> String {
        format!("-einject={}:signal=KILL:when={}", self.name, self.nth)
    }
}

/// Returns all system calls of a trace, in order.
fn points(log: &Path) -> Vec<Point> {
    let text = fs::read_to_string(log).unwrap();
    let mut seen = std::collections::BTreeMap::new();
    let name = |l: &str| Some(l.split_once('(')?.0.to_string());
    let names = text.lines().filter_map(name);
    let names = names.filter(|n| n.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'));
    let points = names.map(|name| {
        let nth = seen.entry(name.clone()).or_insert(0);
        *nth += 1;
        Point { nth: *nth, name }
    });
    points.collect()
}

/// Whether strace killed a process.
fn reached(log: &Path) -> bool {
    let text = fs::read_to_string(log).unwrap_or_default();
    text.contains("+++ killed by SIGKILL +++")
}

/// Kills the program itself at `point` and then, as a power loss does, the programs that
/// it had started. Without a point it is only traced.
fn kill_program(image: &Path, log: &Path, point: Option<&Point>) -> bool {
    let mut strace = Command::new(find("strace"))
        .arg("-o")
        .arg(log)
        .args(point.map(Point::strace_option))
        .arg(env!("CARGO_BIN_EXE_edge-partition"))
        .args(["--timeout", "0", "--device"])
        .arg(image)
        .stderr(std::process::Stdio::null())
        .process_group(0)
        .spawn()
        .unwrap();
    strace.wait().unwrap();
    let group = Pid::from_raw(i32::try_from(strace.id()).unwrap()).unwrap();
    // Helpers that survive would go on writing.
    let _ = kill_process_group(group, Signal::KILL);
    while kill_process_group(group, Signal::KILL).is_ok() {
        std::thread::yield_now();
    }
    reached(log)
}

/// Kills the helper `name` at `point`; after that no other helper runs. Without a point
/// it is only traced.
fn kill_helper(image: &Path, log: &Path, name: &str, point: Option<&Point>) -> bool {
    let directory = tempfile::tempdir().unwrap();
    let sbin = directory.path().join("usr/sbin");
    fs::create_dir_all(&sbin).unwrap();
    let dead = directory.path().join("dead");
    for helper in HELPERS {
        let real = find(helper);
        let trace = if helper == name {
            format!(
                "{} -o {} {}",
                find("strace").display(),
                log.display(),
                point.map(Point::strace_option).unwrap_or_default()
            )
        } else {
            String::new()
        };
        let script = format!(
            "#!/bin/sh\n[ ! -e {dead} ] || exit 99\n{trace} {real} \"$@\"\nstatus=$?\n\
             [ $status -lt 128 ] || touch {dead}\nexit $status\n",
            dead = dead.display(),
            real = real.display()
        );
        fs::write(sbin.join(helper), script).unwrap();
        fs::set_permissions(sbin.join(helper), fs::Permissions::from_mode(0o755)).unwrap();
    }
    std::os::unix::fs::symlink(image, directory.path().join("disk")).unwrap();
    let args = ["x", "--timeout", "0", "--device", "/disk"];
    let args = edge_partition::Args::parse_from(args);
    let _ = edge_partition::run(&Root::at(directory.path()), &args);
    reached(log)
}

fn debugfs(image: &Path, request: &str) -> String {
    let mut debugfs = Command::new(find("debugfs"));
    let output = debugfs.args(["-w", "-R", request]).arg(image).output();
    String::from_utf8_lossy(&output.unwrap().stdout).into_owned()
}

fn assert_clean(image: &Path) {
    let mut e2fsck = Command::new(find("e2fsck"));
    let checked = e2fsck.args(["-f", "-n"]).arg(image).output().unwrap();
    assert!(checked.status.success(), "{checked:?}");
}

/// Distance between two points: 1 in the whole campaign (`cargo xtask campaign
/// partition`), more in the daily tests.
fn every() -> usize {
    let value = std::env::var("EDGE_EVERY");
    value.map_or(20, |v| v.parse().expect("EDGE_EVERY is a number"))
}

fn kill(victim: &str, image: &Path, log: &Path, point: Option<&Point>) -> bool {
    match victim {
        "edge-partition" => kill_program(image, log, point),
        helper => kill_helper(image, log, helper, point),
    }
}

/// Kills `victim` at one point after the other, on two threads: `make` creates the image
/// for each, and `check` asserts that it is whole after another run.
fn campaign(victim: &str, make: &(impl Fn(&Path) + Sync), check: &(impl Fn(&Path) + Sync)) {
    let directory = tempfile::tempdir().unwrap();
    let (image, log) = (
        directory.path().join("disk"),
        directory.path().join("strace"),
    );
    make(&image);
    kill(victim, &image, &log, None);
    let points = points(&log);
    let next = AtomicUsize::new(0);
    let count = AtomicUsize::new(0);
    let worker = |name: &str| {
        let (image, log) = (image.with_extension(name), log.with_extension(name));
        while let Some(point) = points.get(next.fetch_add(every(), Ordering::Relaxed)) {
            let _ = fs::remove_file(&image);
            make(&image);
            if kill(victim, &image, &log, Some(point)) {
                count.fetch_add(1, Ordering::Relaxed);
            }
            let again = partition(&image);
            let at = format!("{victim} killed at {} {}", point.name, point.nth);
            assert!(again.status.success(), "{at}: {again:?}");
            check(&image);
            let once_more = partition(&image);
            assert!(once_more.stderr.is_empty(), "{at}: {once_more:?}");
        }
    };
    std::thread::scope(|scope| {
        for name in ["a", "b"] {
            scope.spawn(move || worker(name));
        }
    });
    let (count, all) = (count.into_inner(), points.len());
    println!("{victim}: killed at {count} points of {all} system calls");
    // Some calls (a short read, a retry) do not happen in each run.
    let tried = all.div_ceil(every());
    assert!(
        tried > 4 && count + (tried / 10).max(1) >= tried,
        "{victim}: {count} of {tried}"
    );
}

#[test]
fn kill_formatting() {
    let make = |image: &Path| File::create(image).unwrap().set_len(SIZE).unwrap();
    let check = |image: &Path| {
        assert_clean(image);
        let stats = debugfs(image, "show_super_stats -h");
        assert!(stats.contains("volume name:   data"), "{stats}");
    };
    for victim in ["edge-partition", "blkid", "mkfs.ext4", "tune2fs"] {
        campaign(victim, &make, &check);
    }
}

#[test]
fn kill_growing() {
    let directory = tempfile::tempdir().unwrap();
    let sample = directory.path().join("sample");
    File::create(&sample).unwrap().set_len(GROWING).unwrap();
    assert!(partition(&sample).status.success());
    let kept = directory.path().join("kept");
    fs::write(&kept, "kept ".repeat(200_000)).unwrap();
    debugfs(&sample, &format!("write {} kept", kept.display()));
    debugfs(&sample, "set_super_value mnt_count 1");
    // A power loss while it was mounted: not clean, to be checked.
    debugfs(&sample, "set_super_value state 0");
    let make = |image: &Path| {
        let _ = fs::remove_file(image);
        let mut copy = Command::new("/bin/cp");
        copy.arg("--sparse=always").arg(&sample).arg(image);
        assert!(copy.status().unwrap().success());
        let image = File::options().write(true).open(image).unwrap();
        image.set_len(2 * GROWING).unwrap();
    };
    let check = |image: &Path| {
        assert_clean(image);
        assert!(debugfs(image, "cat kept") == "kept ".repeat(200_000));
        let stats = debugfs(image, "show_super_stats -h");
        let count = (2 * GROWING - 64 * 1024) / 4096;
        let line = format!("Block count:              {count}");
        assert!(stats.contains(&line), "{stats}");
    };
    for victim in ["edge-partition", "e2fsck", "resize2fs"] {
        campaign(victim, &make, &check);
    }
}
