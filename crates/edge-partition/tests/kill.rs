//! `edge-partition` and each of its helpers killed at every system call, as a
//! power cut does, then run again untouched: always the same good end, and data
//! stay.
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
const HELPERS: [&str; 4] = ["blkid", "mkfs.ext4", "e2fsck", "resize2fs"];

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

/// Was somebody killed, according to strace?
fn reached(log: &Path) -> bool {
    let text = fs::read_to_string(log).unwrap_or_default();
    text.contains("+++ killed by SIGKILL +++")
}

/// Kills the program itself at its `point`-th system call and then, as a cut
/// does, what it had started.
fn kill_program(image: &Path, log: &Path, point: usize) -> bool {
    let mut strace = Command::new(find("strace"))
        .arg("-o")
        .arg(log)
        .arg(format!("-einject=all:signal=KILL:when={point}"))
        .arg(env!("CARGO_BIN_EXE_edge-partition"))
        .args(["--timeout", "0", "--device"])
        .arg(image)
        .stderr(std::process::Stdio::null())
        .process_group(0)
        .spawn()
        .unwrap();
    strace.wait().unwrap();
    let group = Pid::from_raw(i32::try_from(strace.id()).unwrap()).unwrap();
    // Nobody may be left.
    let _ = kill_process_group(group, Signal::KILL);
    while kill_process_group(group, Signal::KILL).is_ok() {
        std::thread::yield_now();
    }
    reached(log)
}

/// Kills the helper `name` at its `point`-th system call; after that nothing
/// else runs.
fn kill_helper(image: &Path, log: &Path, name: &str, point: usize) -> bool {
    let folder = tempfile::tempdir().unwrap();
    let sbin = folder.path().join("usr/sbin");
    fs::create_dir_all(&sbin).unwrap();
    let dead = folder.path().join("dead");
    for helper in HELPERS {
        let real = find(helper);
        let trace = if helper == name {
            format!(
                "{} -o {} -einject=all:signal=KILL:when={point}",
                find("strace").display(),
                log.display()
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
    std::os::unix::fs::symlink(image, folder.path().join("disk")).unwrap();
    let words = ["x", "--timeout", "0", "--device", "/disk"];
    let args = edge_partition::Args::parse_from(words);
    let _ = edge_partition::run(&Root::at(folder.path()), &args);
    reached(log)
}

fn debugfs(image: &Path, words: &str) -> String {
    let mut debugfs = Command::new(find("debugfs"));
    let output = debugfs.args(["-w", "-R", words]).arg(image).output();
    String::from_utf8_lossy(&output.unwrap().stdout).into_owned()
}

fn clean(image: &Path) {
    let mut e2fsck = Command::new(find("e2fsck"));
    let checked = e2fsck.args(["-f", "-n"]).arg(image).output().unwrap();
    assert!(checked.status.success(), "{checked:?}");
}

/// How far one point is from the next: 1 in the whole campaign (`cargo xtask
/// campaign kill`), more in the daily tests.
fn every() -> usize {
    let value = std::env::var("EDGE_EVERY");
    value.map_or(20, |v| v.parse().expect("EDGE_EVERY is a number"))
}

/// Kills `victim` at one point after the other until none is reached any more,
/// on two threads; the count.
fn campaign(victim: &str, make: &(impl Fn(&Path) + Sync), good: &(impl Fn(&Path) + Sync)) -> usize {
    let next = AtomicUsize::new(1);
    let count = AtomicUsize::new(0);
    let worker = || {
        let folder = tempfile::tempdir().unwrap();
        let (image, log) = (folder.path().join("disk"), folder.path().join("strace"));
        loop {
            let point = next.fetch_add(every(), Ordering::Relaxed);
            let _ = fs::remove_file(&image);
            make(&image);
            let hit = match victim {
                "edge-partition" => kill_program(&image, &log, point),
                helper => kill_helper(&image, &log, helper, point),
            };
            if !hit {
                return;
            }
            count.fetch_add(1, Ordering::Relaxed);
            let again = partition(&image);
            let at = format!("after point {point} of {victim}");
            assert!(again.status.success(), "{at}: {again:?}");
            good(&image);
            let once_more = partition(&image);
            assert!(once_more.stderr.is_empty(), "{at}: {once_more:?}");
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(worker);
        }
    });
    let count = count.into_inner();
    println!("{victim}: killed at {count} points");
    assert!(count > 40 / every(), "{victim}: strace does not work here?");
    count
}

#[test]
fn kill_formatting() {
    let make = |image: &Path| File::create(image).unwrap().set_len(SIZE).unwrap();
    let good = |image: &Path| {
        clean(image);
        let stats = debugfs(image, "show_super_stats -h");
        assert!(stats.contains("volume name:   data"), "{stats}");
    };
    for victim in ["edge-partition", "blkid", "mkfs.ext4"] {
        campaign(victim, &make, &good);
    }
}

#[test]
fn kill_growing() {
    let folder = tempfile::tempdir().unwrap();
    let sample = folder.path().join("sample");
    File::create(&sample).unwrap().set_len(SIZE).unwrap();
    assert!(partition(&sample).status.success());
    let kept = folder.path().join("kept");
    fs::write(&kept, "kept ".repeat(200_000)).unwrap();
    debugfs(&sample, &format!("write {} kept", kept.display()));
    debugfs(&sample, "set_super_value mnt_count 1");
    // A cut while it was mounted: not clean, to be checked.
    debugfs(&sample, "set_super_value state 0");
    let make = |image: &Path| {
        let mut copy = Command::new("/bin/cp");
        copy.arg("--sparse=always").arg(&sample).arg(image);
        assert!(copy.status().unwrap().success());
        let image = File::options().write(true).open(image).unwrap();
        image.set_len(4 * SIZE).unwrap();
    };
    let good = |image: &Path| {
        clean(image);
        assert!(debugfs(image, "cat kept") == "kept ".repeat(200_000));
        let stats = debugfs(image, "show_super_stats -h");
        let count = (4 * SIZE - 64 * 1024) / 4096;
        let line = format!("Block count:              {count}");
        assert!(stats.contains(&line), "{stats}");
    };
    for victim in ["edge-partition", "e2fsck", "resize2fs"] {
        campaign(victim, &make, &good);
    }
}
