//! `edge-partition` on real images with the real `blkid` and `mkfs.ext4`.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use clap::Parser;
use edge_common::{Root, exit};
use edge_partition::Args;
use edge_partition::exit_code::{
    AMBIGUOUS, DAMAGED, DEVICE_ABSENT, FOREIGN_CONTENT, NOT_READY, UNREADABLE,
};

const SIZE: u64 = 32 * 1024 * 1024;

struct Testbed {
    directory: tempfile::TempDir,
}

impl Testbed {
    /// Creates a root with the tools of this machine and an image of zeros.
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let sbin = directory.path().join("usr/sbin");
        fs::create_dir_all(&sbin).unwrap();
        for tool in [
            "blkid",
            "mkfs.ext4",
            "tune2fs",
            "e2fsck",
            "e2undo",
            "resize2fs",
        ] {
            let real = [format!("/usr/sbin/{tool}"), format!("/sbin/{tool}")];
            let real = real.iter().find(|r| Path::new(r).exists());
            let real =
                real.unwrap_or_else(|| panic!("{tool} is missing: apt-get install e2fsprogs"));
            std::os::unix::fs::symlink(real, sbin.join(tool)).unwrap();
        }
        let testbed = Self { directory };
        File::create(testbed.image())
            .unwrap()
            .set_len(SIZE)
            .unwrap();
        testbed
    }

    fn image(&self) -> PathBuf {
        self.directory.path().join("disk")
    }

    fn fake(&self, tool: &str, script: &str) {
        let path = self.directory.path().join("usr/sbin").join(tool);
        fs::remove_file(&path).unwrap();
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn run(&self) -> Result<(), (u8, String)> {
        self.run_with(&["--device", "/disk"])
    }

    fn run_with(&self, args: &[&str]) -> Result<(), (u8, String)> {
        let args = Args::parse_from([&["x", "--timeout", "0"], args].concat());
        edge_partition::run(&Root::at(self.directory.path()), &args)
            .map_err(|e| (exit::code_of(&e), format!("{e:#}")))
    }

    fn format_with(&self, tool: &str, args: &[&str]) {
        let output = Command::new(tool).args(args).arg(self.image()).output();
        let output = output.unwrap_or_else(|_| panic!("{tool} is missing: run scripts/setup"));
        assert!(output.status.success(), "{output:?}");
    }

    /// Formats the image with edge-partition and adds a file and a mount count.
    fn with_data(&self) {
        self.run().unwrap();
        let file = self.directory.path().join("kept");
        fs::write(&file, "kept ".repeat(50_000)).unwrap();
        self.debugfs(&format!("write {} kept", file.display()));
        // debugfs does not count in the quota what it writes.
        let mut count = Command::new("/usr/sbin/e2fsck");
        count.args(["-f", "-p"]).arg(self.image()).output().unwrap();
        self.debugfs("set_super_value mnt_count 1");
    }

    fn debugfs(&self, request: &str) -> String {
        let mut command = Command::new("/usr/sbin/debugfs");
        let output = command
            .args(["-w", "-R", request])
            .arg(self.image())
            .output();
        String::from_utf8_lossy(&output.unwrap().stdout).into_owned()
    }

    fn assert_data(&self) {
        let checked = Command::new("/usr/sbin/e2fsck")
            .args(["-f", "-n"])
            .arg(self.image())
            .output()
            .unwrap();
        assert!(checked.status.success(), "{checked:?}");
        assert_eq!(self.debugfs("cat kept"), "kept ".repeat(50_000));
    }

    fn resize(&self, bytes: u64) {
        let image = File::options().write(true).open(self.image()).unwrap();
        image.set_len(bytes).unwrap();
    }

    fn bytes(&self) -> Vec<u8> {
        fs::read(self.image()).unwrap()
    }
}

#[test]
fn an_empty_partition_is_formatted_once() {
    let testbed = Testbed::new();
    testbed.run().unwrap();
    let mut blkid = Command::new("blkid");
    blkid.args(["-p", "-o", "export"]).arg(testbed.image());
    let probed = String::from_utf8(blkid.output().unwrap().stdout).unwrap();
    assert!(
        probed.contains("TYPE=ext4") && probed.contains("LABEL=data"),
        "{probed}"
    );
    let first = testbed.bytes();
    testbed.run().unwrap();
    assert!(
        first == testbed.bytes(),
        "the second run changed the partition"
    );
}

#[test]
fn the_file_system_has_project_quotas() {
    let testbed = Testbed::new();
    testbed.run().unwrap();
    let stats = testbed.debugfs("stats -h");
    let has = |key: &str, value: &str| {
        let mut lines = stats.lines().filter(|l| l.starts_with(key));
        lines.any(|l| l.split_whitespace().any(|word| word == value))
    };
    assert!(has("Filesystem features:", "project"), "{stats}");
    assert!(has("Filesystem features:", "quota"), "{stats}");
    assert!(has("Mount options:", "prjquota"), "{stats}");
    // Quotas of users and groups would make each write slower, and nobody sets them.
    assert!(!stats.contains("User quota inode"), "{stats}");
    assert!(!stats.contains("Group quota inode"), "{stats}");
}

#[test]
fn erased_flash_is_empty_too() {
    let testbed = Testbed::new();
    fs::write(testbed.image(), vec![0xff; 32 * 1024 * 1024]).unwrap();
    testbed.run().unwrap();
}

#[test]
fn ext4_with_files_is_kept_byte_for_byte() {
    let testbed = Testbed::new();
    let files = tempfile::tempdir().unwrap();
    fs::write(files.path().join("kept"), "kept").unwrap();
    testbed.format_with(
        "mke2fs",
        &["-q", "-t", "ext4", "-d", files.path().to_str().unwrap()],
    );
    let before = testbed.bytes();
    testbed.run().unwrap();
    assert!(before == testbed.bytes());
}

/// Images with content of others, each with the name that the refusal gives it.
fn foreign() -> Vec<(&'static str, Testbed)> {
    let formatted = |tool: &str, args: &[&str]| {
        let testbed = Testbed::new();
        testbed.resize(160 * 1024 * 1024);
        testbed.format_with(tool, args);
        testbed
    };
    let written = |at: usize, bytes: &[u8]| {
        let testbed = Testbed::new();
        let mut content = testbed.bytes();
        content[at..at + bytes.len()].copy_from_slice(bytes);
        fs::write(testbed.image(), content).unwrap();
        testbed
    };
    let mut random = vec![0; 1 << 20];
    let mut state = 88_172_645_463_325_252_u64;
    for byte in &mut random {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        *byte = (state >> 32) as u8;
    }
    let end = usize::try_from(SIZE).unwrap();
    // A member of a Linux RAID, metadata 1.2: magic number, version, size.
    let mut raid = vec![0; 256];
    raid[..8].copy_from_slice(&[0xfc, 0x4e, 0x2b, 0xa9, 1, 0, 0, 0]);
    let fill = random.clone();
    vec![
        ("vfat", formatted("mkfs.vfat", &[])),
        ("ext2", formatted("mke2fs", &["-q", "-t", "ext2"])),
        ("swap", formatted("mkswap", &["-q"])),
        ("btrfs", formatted("mkfs.btrfs", &["-q"])),
        ("crypto_LUKS", luks()),
        ("unknown", written(4096, &raid)),
        ("unknown", written(0, b"x")),
        ("unknown", written(end - 1, b"x")),
        ("unknown", written(end / 2 + 77_777, b"x")),
        ("unknown", written(0, &fill)),
        ("unknown", written(end - fill.len(), &fill)),
    ]
}

fn luks() -> Testbed {
    let testbed = Testbed::new();
    let key = testbed.directory.path().join("key");
    fs::write(&key, "0123456789").unwrap();
    let key = key.to_str().unwrap().to_string();
    let args = ["luksFormat", "-q", "--type", "luks2", "--pbkdf", "pbkdf2"];
    let fast = ["--pbkdf-force-iterations", "1000", "--key-file", &key];
    testbed.format_with("cryptsetup", &[&args[..], &fast[..]].concat());
    testbed
}

#[test]
fn foreign_content_is_refused_and_untouched() {
    for (name, testbed) in foreign() {
        let before = testbed.bytes();
        let (code, message) = testbed.run().unwrap_err();
        assert_eq!(code, FOREIGN_CONTENT, "{message}");
        assert!(message.contains(name), "{message}");
        let (code, _) = testbed
            .run_with(&["--check", "--device", "/disk"])
            .unwrap_err();
        assert_eq!(code, FOREIGN_CONTENT);
        assert!(before == testbed.bytes(), "{name} was touched");
    }
}

#[test]
fn data_behind_a_cleared_beginning_are_found() {
    let testbed = Testbed::new();
    testbed.resize(300 * 1024 * 1024);
    testbed.with_data();
    let image = File::options().write(true).open(testbed.image()).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&image, &vec![0; 8 << 20], 0).unwrap();
    let (code, message) = testbed.run().unwrap_err();
    assert_eq!(code, FOREIGN_CONTENT, "{message}");
}

#[test]
fn a_file_system_is_kept_and_grows_with_its_partition() {
    let testbed = Testbed::new();
    testbed.with_data();
    assert!(testbed.run_with(&["--check", "--device", "/disk"]).is_ok());
    testbed.resize(4 * SIZE);
    let (code, _) = testbed
        .run_with(&["--check", "--device", "/disk"])
        .unwrap_err();
    assert_eq!(code, NOT_READY);
    testbed.run().unwrap();
    testbed.assert_data();
    let blocks = testbed.debugfs("show_super_stats -h");
    let line = blocks.lines().find(|l| l.starts_with("Block count:"));
    let count: u64 = line.unwrap()[12..].trim().parse().unwrap();
    assert_eq!(count * 4096, 4 * SIZE - 64 * 1024);
    let before = testbed.bytes();
    testbed.run().unwrap();
    assert!(before == testbed.bytes(), "the second run changed it");
}

#[test]
fn damage_is_repaired_and_a_shrunk_partition_is_refused() {
    let testbed = Testbed::new();
    testbed.with_data();
    testbed.debugfs("set_super_value state 2");
    testbed.debugfs("set_super_value free_blocks_count 1");
    testbed.debugfs("clear_inode <7>");
    testbed.run().unwrap();
    testbed.assert_data();
    testbed.resize(SIZE / 2);
    let before = testbed.bytes();
    let (code, message) = testbed.run().unwrap_err();
    assert_eq!(code, DAMAGED, "{message}");
    assert!(before == testbed.bytes());
}

#[test]
fn a_failed_repair_is_an_error_and_a_failed_growth_is_not() {
    let testbed = Testbed::new();
    testbed.with_data();
    testbed.resize(4 * SIZE);
    testbed.fake("resize2fs", "echo 'out of luck' >&2; exit 1");
    testbed.run().unwrap();
    testbed.assert_data();
    testbed.fake("e2fsck", "exit 4");
    assert_eq!(testbed.run().unwrap_err().0, DAMAGED);
}

#[test]
fn an_interrupted_format_is_repeated_unless_it_held_data() {
    let testbed = Testbed::new();
    testbed.fake("mkfs.ext4", "head -c 300000 /dev/urandom | dd of=\"$(eval echo \\${$(($#-1))})\" conv=notrunc status=none; kill -9 $$");
    assert_eq!(testbed.run().unwrap_err().0, 1);
    let real = Testbed::new();
    fs::copy(testbed.image(), real.image()).unwrap();
    let (code, _) = real
        .run_with(&["--check", "--device", "/disk"])
        .unwrap_err();
    assert_eq!(code, NOT_READY);
    real.run().unwrap();
    real.with_data();
    // Even with the marker, a file system that was mounted once is kept.
    let marked = fs::read(testbed.image()).unwrap();
    let image = File::options().write(true).open(real.image()).unwrap();
    let offset = SIZE - 4096;
    let marker = &marked[usize::try_from(offset).unwrap()..];
    assert!(marker.starts_with(b"edge-ai"));
    std::os::unix::fs::FileExt::write_all_at(&image, marker, offset).unwrap();
    real.run().unwrap();
    real.assert_data();
}

#[test]
fn the_boot_finds_the_label_and_leaves_link_and_result() {
    let testbed = Testbed::new();
    let path = |name: &str| testbed.directory.path().join(name);
    fs::create_dir_all(path("dev/disk/by-partlabel")).unwrap();
    std::os::unix::fs::symlink(testbed.image(), path("dev/disk/by-partlabel/DATA")).unwrap();
    testbed.run_with(&[]).unwrap();
    let link = fs::read_link(path("run/edge-ai/data-partition")).unwrap();
    assert_eq!(link, fs::canonicalize(testbed.image()).unwrap());
    let line = fs::read_to_string(path("run/edge-ai/boot/edge-partition.json")).unwrap();
    assert!(line.contains(r#""result":"ok","code":0"#), "{line}");
    for name in ["a1", "b1"] {
        fs::create_dir_all(path("sys/class/block").join(name)).unwrap();
        let uevent = path("sys/class/block").join(name).join("uevent");
        fs::write(uevent, "PARTNAME=DATA\n").unwrap();
    }
    let (code, message) = testbed.run_with(&[]).unwrap_err();
    assert_eq!(code, AMBIGUOUS, "{message}");
    let line = fs::read_to_string(path("run/edge-ai/boot/edge-partition.json")).unwrap();
    assert!(line.contains("a1 and b1"), "{line}");
}

#[test]
fn a_probe_error_does_not_mean_empty() {
    let testbed = Testbed::new();
    testbed.fake("mkfs.ext4", "echo formatted >&2; exit 9");
    for script in [
        "echo 'error: disk: Input/output error' >&2; exit 4",
        "exit 0",
        "kill -9 $$",
    ] {
        testbed.fake("blkid", script);
        assert_eq!(testbed.run().unwrap_err().0, UNREADABLE, "{script}");
    }
    assert!(testbed.bytes().iter().all(|b| *b == 0));
    testbed.fake("blkid", "exit 2");
    fs::write(testbed.image(), "").unwrap();
    assert_eq!(testbed.run().unwrap_err().0, UNREADABLE);
    testbed.fake("blkid", "exit 8");
    assert_eq!(testbed.run().unwrap_err().0, FOREIGN_CONTENT);
}

#[test]
fn an_absent_device_and_a_failed_format_have_different_exit_codes() {
    let testbed = Testbed::new();
    testbed.fake("mkfs.ext4", "echo 'no space' >&2; exit 1");
    let (code, message) = testbed.run().unwrap_err();
    assert_eq!(code, 1);
    assert!(message.contains("no space"), "{message}");
    fs::remove_file(testbed.image()).unwrap();
    assert_eq!(testbed.run().unwrap_err().0, DEVICE_ABSENT);
}

#[test]
fn command_line() {
    let run = |args: &[&str]| -> Output {
        Command::new(env!("CARGO_BIN_EXE_edge-partition"))
            .args(args)
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
    for (relative, example) in [
        ("disk", "/dev/disk"),
        ("./disk", "/dev/disk"),
        ("sda3", "/dev/sda3"),
        ("", "/dev/disk/by-partlabel/DATA"),
    ] {
        // Without `--timeout`: it is an error at once, not after 30 seconds.
        let output = run(&["--check", "--device", relative]);
        assert_eq!(output.status.code(), Some(2), "{relative}");
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.contains(example), "{text}");
    }
    let absent = run(&["--device", "/nonexistent/disk", "--timeout", "0"]);
    assert_eq!(absent.status.code(), Some(3));
}

/// Runs the program as a user without rights, from a place that this user can reach.
fn unprivileged(args: &[&str]) -> std::process::Output {
    let directory = tempfile::tempdir().unwrap();
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let copy = directory.path().join("program");
    // By another process: a program that this one has open for writing cannot be run while a
    // test beside it forks.
    let mut install = Command::new("/usr/bin/install");
    install.arg(env!("CARGO_BIN_EXE_edge-partition")).arg(&copy);
    assert!(install.status().unwrap().success());
    let mut command = Command::new("/usr/bin/setpriv");
    if fs::metadata("/proc/self").unwrap().uid() == 0 {
        command.args(["--reuid", "61000", "--regid", "61000", "--clear-groups"]);
    }
    command.arg(copy).args(args).output().unwrap()
}

/// What only root may read is neither broken nor to be formatted.
#[test]
fn an_unprivileged_user_is_told_to_be_root() {
    let testbed = Testbed::new();
    let closed = fs::Permissions::from_mode(0o0);
    fs::set_permissions(testbed.directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(testbed.image(), closed).unwrap();
    let image = testbed.image().display().to_string();
    for mode in [&["--check"][..], &[]] {
        let output = unprivileged(&[mode, &["--device", &image, "--timeout", "0"]].concat());
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(77), "{message}");
        assert!(message.contains("cannot be read: run as root"), "{message}");
        assert!(output.stdout.is_empty());
    }
}
