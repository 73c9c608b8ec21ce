//! `edge-partition` on real images with the real `blkid` and `mkfs.ext4`.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use clap::Parser;
use edge_common::{Root, exit};
use edge_partition::{ABSENT, Args, FOREIGN, UNREADABLE};

const SIZE: u64 = 32 * 1024 * 1024;

struct Bench {
    folder: tempfile::TempDir,
}

impl Bench {
    /// A root with the tools of this machine and an image of zeros.
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let sbin = folder.path().join("usr/sbin");
        fs::create_dir_all(&sbin).unwrap();
        for tool in ["blkid", "mkfs.ext4"] {
            let real = [format!("/usr/sbin/{tool}"), format!("/sbin/{tool}")];
            let real = real.iter().find(|r| Path::new(r).exists());
            let real = real.expect("blkid and mkfs.ext4 are missing: apt-get install e2fsprogs");
            std::os::unix::fs::symlink(real, sbin.join(tool)).unwrap();
        }
        let bench = Self { folder };
        File::create(bench.image()).unwrap().set_len(SIZE).unwrap();
        bench
    }

    fn image(&self) -> PathBuf {
        self.folder.path().join("disk")
    }

    fn fake(&self, tool: &str, script: &str) {
        use std::os::unix::fs::PermissionsExt;
        let path = self.folder.path().join("usr/sbin").join(tool);
        fs::remove_file(&path).unwrap();
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn run(&self) -> Result<(), (u8, String)> {
        let args = Args::parse_from(["x", "--timeout", "0", "--device", "/disk"]);
        edge_partition::run(&Root::at(self.folder.path()), &args)
            .map_err(|e| (exit::code_of(&e), format!("{e:#}")))
    }

    fn make(&self, tool: &str, words: &[&str]) {
        let made = Command::new(tool).args(words).arg(self.image()).output();
        let made = made.unwrap_or_else(|_| panic!("{tool} is missing: run scripts/setup"));
        assert!(made.status.success(), "{made:?}");
    }

    fn bytes(&self) -> Vec<u8> {
        fs::read(self.image()).unwrap()
    }
}

#[test]
fn an_empty_partition_is_formatted_once() {
    let bench = Bench::new();
    bench.run().unwrap();
    let mut blkid = Command::new("blkid");
    blkid.args(["-p", "-o", "export"]).arg(bench.image());
    let told = blkid.output().unwrap();
    let told = String::from_utf8(told.stdout).unwrap();
    assert!(
        told.contains("TYPE=ext4") && told.contains("LABEL=data"),
        "{told}"
    );
    let first = bench.bytes();
    bench.run().unwrap();
    assert!(
        first == bench.bytes(),
        "the second run changed the partition"
    );
}

#[test]
fn erased_flash_is_empty_too() {
    let bench = Bench::new();
    fs::write(bench.image(), vec![0xff; 32 * 1024 * 1024]).unwrap();
    bench.run().unwrap();
}

#[test]
fn ext4_with_files_is_kept_byte_for_byte() {
    let bench = Bench::new();
    let files = tempfile::tempdir().unwrap();
    fs::write(files.path().join("kept"), "kept").unwrap();
    bench.make(
        "mke2fs",
        &["-q", "-t", "ext4", "-d", files.path().to_str().unwrap()],
    );
    let before = bench.bytes();
    bench.run().unwrap();
    assert!(before == bench.bytes());
}

#[test]
fn foreign_content_is_refused_and_untouched() {
    let vfat = Bench::new();
    vfat.make("mkfs.vfat", &[]);
    let ext2 = Bench::new();
    ext2.make("mke2fs", &["-q", "-t", "ext2"]);
    let tail = Bench::new();
    let mut bytes = tail.bytes();
    *bytes.last_mut().unwrap() = 1;
    fs::write(tail.image(), bytes).unwrap();
    let text = Bench::new();
    fs::write(text.image(), vec![b'x'; 100_000]).unwrap();
    for (bench, name) in [
        (vfat, "vfat"),
        (ext2, "ext2"),
        (tail, "unknown"),
        (text, "unknown"),
    ] {
        let before = bench.bytes();
        let (code, message) = bench.run().unwrap_err();
        assert_eq!(code, FOREIGN, "{message}");
        assert!(message.contains(name), "{message}");
        assert!(before == bench.bytes());
    }
}

#[test]
fn a_probe_error_is_not_empty() {
    let bench = Bench::new();
    bench.fake("mkfs.ext4", "echo formatted >&2; exit 9");
    for script in [
        "echo 'error: disk: Input/output error' >&2; exit 4",
        "exit 0",
        "kill -9 $$",
    ] {
        bench.fake("blkid", script);
        assert_eq!(bench.run().unwrap_err().0, UNREADABLE, "{script}");
    }
    bench.fake("blkid", "exit 2");
    fs::write(bench.image(), "").unwrap();
    assert_eq!(bench.run().unwrap_err().0, UNREADABLE);
    bench.fake("blkid", "exit 8");
    assert_eq!(bench.run().unwrap_err().0, FOREIGN);
}

#[test]
fn a_missing_device_and_a_failed_format_are_told_apart() {
    let bench = Bench::new();
    bench.fake("mkfs.ext4", "echo 'no space' >&2; exit 1");
    let (code, message) = bench.run().unwrap_err();
    assert_eq!(code, 1);
    assert!(message.contains("no space"), "{message}");
    fs::remove_file(bench.image()).unwrap();
    assert_eq!(bench.run().unwrap_err().0, ABSENT);
}

#[test]
fn manners() {
    let run = |words: &[&str]| -> Output {
        Command::new(env!("CARGO_BIN_EXE_edge-partition"))
            .args(words)
            .output()
            .unwrap()
    };
    let help = run(&["--help"]);
    assert!(help.status.success());
    let help = String::from_utf8(help.stdout).unwrap();
    assert!(
        help.contains("Exit codes:") && help.lines().all(|l| l.len() <= 80),
        "{help}"
    );
    assert!(run(&["--version"]).status.success());
    assert_eq!(run(&["--no-such-flag"]).status.code(), Some(2));
    let absent = run(&["--device", "/nonexistent/disk", "--timeout", "0"]);
    assert_eq!(absent.status.code(), Some(3));
}
