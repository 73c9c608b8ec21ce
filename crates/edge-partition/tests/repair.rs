//! Repairs by `edge-partition` that plain `e2fsck -p` gets wrong, newer file systems, and
//! a missing resize2fs.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use clap::Parser;
use edge_common::{Root, exit};
use edge_partition::Args;
use edge_partition::exit_code::{LOSSY, NEWER};

const SIZE: u64 = 300 * 1024 * 1024;

struct Disk(tempfile::TempDir);

impl Disk {
    /// Creates a file system of edge-partition's with the file `kept`.
    fn new() -> Self {
        let disk = Self(tempfile::tempdir().unwrap());
        File::create(disk.image()).unwrap().set_len(SIZE).unwrap();
        assert!(disk.run().status.success());
        let kept = disk.0.path().join("kept");
        fs::write(&kept, "kept ".repeat(50_000)).unwrap();
        disk.debugfs(&format!("write {} kept", kept.display()));
        let mut count = Command::new("/usr/sbin/e2fsck");
        count.args(["-f", "-p"]).arg(disk.image()).output().unwrap();
        disk.debugfs("set_super_value mnt_count 1");
        disk
    }

    fn image(&self) -> PathBuf {
        self.0.path().join("disk")
    }

    fn run_with(&self, options: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_edge-partition"));
        command.args(options).args(["--timeout", "0", "--device"]);
        command.arg(self.image()).output().unwrap()
    }

    fn run(&self) -> Output {
        self.run_with(&[])
    }

    fn debugfs(&self, request: &str) -> String {
        let mut debugfs = Command::new("/usr/sbin/debugfs");
        let output = debugfs
            .args(["-w", "-R", request])
            .arg(self.image())
            .output();
        String::from_utf8_lossy(&output.unwrap().stdout).into_owned()
    }

    fn write(&self, offset: u64, bytes: &[u8]) {
        let image = File::options().write(true).open(self.image()).unwrap();
        image.write_all_at(bytes, offset).unwrap();
    }

    fn assert_kept(&self, at: &str) {
        assert!(self.debugfs("cat kept") == "kept ".repeat(50_000), "{at}");
        let mut check = Command::new("/usr/sbin/e2fsck");
        let checked = check.args(["-f", "-n"]).arg(self.image()).output().unwrap();
        assert!(checked.status.success(), "{at}: {checked:?}");
    }
}

#[test]
fn destroyed_superblocks_and_descriptors_are_restored_from_a_copy() {
    // Superblock; group descriptors; both; the whole beginning up to the descriptors.
    for (offset, length) in [(1024, 1024), (4096, 4096), (1024, 7168), (0, 8192)] {
        for filler in [0, 0xa5] {
            let disk = Disk::new();
            disk.write(offset, &vec![filler; length]);
            let check = disk.run_with(&["--check"]);
            assert!(check.status.success(), "{check:?}");
            let output = disk.run();
            let at = format!("{length} bytes at {offset}: {output:?}");
            assert!(output.status.success(), "{at}");
            disk.assert_kept(&at);
            let again = disk.run();
            assert!(
                again.status.success() && again.stderr.is_empty(),
                "{again:?}"
            );
        }
    }
}

/// Fields with which e2fsck cannot open the file system, or the kernel does not mount one
/// that e2fsck calls clean.
#[test]
fn wrong_fields_of_the_superblock_are_restored_from_a_copy() {
    let fields = [
        ("rev_level 99", 0x4c..0x50),
        ("log_cluster_size 9", 0x1c..0x20),
        ("inode_size 4096", 0x58..0x5a),
        ("reserved_gdt_blocks 60000", 0xce..0xd0),
        ("min_extra_isize 9999", 0x15c..0x15e),
        ("want_extra_isize 60000", 0x15e..0x160),
        ("log_groups_per_flex 99", 0x174..0x175),
        ("checksum_type 9", 0x175..0x176),
    ];
    for (field, at) in fields {
        let disk = Disk::new();
        let read = || fs::read(disk.image()).unwrap()[1024..2048][at.clone()].to_vec();
        let before = read();
        disk.debugfs(&format!("set_super_value {field}"));
        assert_ne!(read(), before, "{field}");
        let output = disk.run();
        let at = format!("{field}: {output:?}");
        assert!(output.status.success(), "{at}");
        assert_eq!(read(), before, "{at}");
        disk.assert_kept(&at);
        let again = disk.run();
        assert!(
            again.status.success() && again.stderr.is_empty(),
            "{again:?}"
        );
    }
}

#[test]
fn a_repair_that_loses_files_is_undone_and_has_its_own_code() {
    let disk = Disk::new();
    // A root whose e2fsck repairs by emptying the file system.
    let root = tempfile::tempdir().unwrap();
    let sbin = root.path().join("usr/sbin");
    fs::create_dir_all(&sbin).unwrap();
    for tool in ["blkid", "e2undo"] {
        std::os::unix::fs::symlink(format!("/usr/sbin/{tool}"), sbin.join(tool)).unwrap();
    }
    let script = "#!/bin/sh\nfor last; do :; done\ncase \"$*\" in *undo*) ;; *) exit 4;; esac\n\
        debugfs -w -z \"$(echo \"$*\" | sed 's/.*-z \\([^ ]*\\).*/\\1/')\" -R 'rm kept' \"$last\" >&2\n\
        debugfs -w -R 'set_super_value state 1' \"$last\" >&2\nexit 1\n";
    fs::write(sbin.join("e2fsck"), script).unwrap();
    let executable = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(sbin.join("e2fsck"), executable).unwrap();
    disk.debugfs("set_super_value state 2");
    std::os::unix::fs::symlink(disk.image(), root.path().join("disk")).unwrap();
    let before = fs::read(disk.image()).unwrap();
    let args = Args::parse_from(["x", "--timeout", "0", "--device", "/disk"]);
    let error = edge_partition::run(&Root::at(root.path()), &args).unwrap_err();
    let message = format!("{error:#}");
    assert_eq!(exit::code_of(&error), LOSSY, "{message}");
    assert!(message.contains("nothing was changed"), "{message}");
    assert!(
        before == fs::read(disk.image()).unwrap(),
        "the partition was changed"
    );
    let left = fs::read_dir(root.path().join("run/edge-ai/repair")).unwrap();
    assert_eq!(left.count(), 0);
}

#[test]
fn a_newer_feature_is_no_damage() {
    let disk = Disk::new();
    disk.debugfs("feature FEATURE_C13");
    let before = fs::read(disk.image()).unwrap();
    for options in [&["--check"][..], &[]] {
        let output = disk.run_with(options);
        assert!(output.status.success(), "{output:?}");
    }
    for features in ["-FEATURE_C13 FEATURE_I25", "-FEATURE_I25 FEATURE_R20"] {
        assert!(before == fs::read(disk.image()).unwrap() || features.starts_with("-FEATURE_I"));
        disk.debugfs(&format!("feature {features}"));
        let unchanged = fs::read(disk.image()).unwrap();
        let output = disk.run();
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(NEWER.into()), "{message}");
        assert!(
            message.contains("newer") && !message.contains("damage"),
            "{message}"
        );
        assert!(unchanged == fs::read(disk.image()).unwrap());
    }
}

#[test]
fn without_resize2fs_the_old_size_is_used() {
    let disk = Disk::new();
    let root = tempfile::tempdir().unwrap();
    let sbin = root.path().join("usr/sbin");
    fs::create_dir_all(&sbin).unwrap();
    for tool in ["blkid", "e2fsck", "e2undo"] {
        let real = Path::new("/usr/sbin").join(tool);
        std::os::unix::fs::symlink(real, sbin.join(tool)).unwrap();
    }
    std::os::unix::fs::symlink(disk.image(), root.path().join("disk")).unwrap();
    let image = File::options().write(true).open(disk.image()).unwrap();
    image.set_len(2 * SIZE).unwrap();
    let args = Args::parse_from(["x", "--timeout", "0", "--device", "/disk"]);
    edge_partition::run(&Root::at(root.path()), &args).unwrap();
    disk.assert_kept("without resize2fs");
}
