//! `edge-partition` on real images with the real `blkid` and `mkfs.ext4`.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use clap::Parser;
use edge_common::{Root, exit};
use edge_partition::{ABSENT, AMBIGUOUS, Args, DAMAGED, FOREIGN, TO_DO, UNREADABLE};

const SIZE: u64 = 32 * 1024 * 1024;

struct Bench {
    directory: tempfile::TempDir,
}

impl Bench {
    /// A root with the tools of this machine and an image of zeros.
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let sbin = directory.path().join("usr/sbin");
        fs::create_dir_all(&sbin).unwrap();
        for tool in ["blkid", "mkfs.ext4", "e2fsck", "resize2fs"] {
            let real = [format!("/usr/sbin/{tool}"), format!("/sbin/{tool}")];
            let real = real.iter().find(|r| Path::new(r).exists());
            let real =
                real.unwrap_or_else(|| panic!("{tool} is missing: apt-get install e2fsprogs"));
            std::os::unix::fs::symlink(real, sbin.join(tool)).unwrap();
        }
        let bench = Self { directory };
        File::create(bench.image()).unwrap().set_len(SIZE).unwrap();
        bench
    }

    fn image(&self) -> PathBuf {
        self.directory.path().join("disk")
    }

    fn fake(&self, tool: &str, script: &str) {
        use std::os::unix::fs::PermissionsExt;
        let path = self.directory.path().join("usr/sbin").join(tool);
        fs::remove_file(&path).unwrap();
        fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    fn run(&self) -> Result<(), (u8, String)> {
        self.run_with(&["--device", "/disk"])
    }

    fn run_with(&self, words: &[&str]) -> Result<(), (u8, String)> {
        let args = Args::parse_from([&["x", "--timeout", "0"], words].concat());
        edge_partition::run(&Root::at(self.directory.path()), &args)
            .map_err(|e| (exit::code_of(&e), format!("{e:#}")))
    }

    fn make(&self, tool: &str, words: &[&str]) {
        let made = Command::new(tool).args(words).arg(self.image()).output();
        let made = made.unwrap_or_else(|_| panic!("{tool} is missing: run scripts/setup"));
        assert!(made.status.success(), "{made:?}");
    }

    /// A file system as edge-partition makes it, with one file, as if mounted.
    fn with_data(&self) {
        self.run().unwrap();
        let file = self.directory.path().join("kept");
        fs::write(&file, "kept ".repeat(50_000)).unwrap();
        self.debugfs(&format!("write {} kept", file.display()));
        self.debugfs("set_super_value mnt_count 1");
    }

    fn debugfs(&self, words: &str) -> String {
        let mut command = Command::new("/usr/sbin/debugfs");
        let output = command.args(["-w", "-R", words]).arg(self.image()).output();
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

/// What others leave on a partition, and what the refusal calls it.
fn foreign() -> Vec<(&'static str, Bench)> {
    let made = |tool: &str, words: &[&str]| {
        let bench = Bench::new();
        bench.resize(160 * 1024 * 1024);
        bench.make(tool, words);
        bench
    };
    let written = |at: usize, bytes: &[u8]| {
        let bench = Bench::new();
        let mut content = bench.bytes();
        content[at..at + bytes.len()].copy_from_slice(bytes);
        fs::write(bench.image(), content).unwrap();
        bench
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
        ("vfat", made("mkfs.vfat", &[])),
        ("ext2", made("mke2fs", &["-q", "-t", "ext2"])),
        ("swap", made("mkswap", &["-q"])),
        ("btrfs", made("mkfs.btrfs", &["-q"])),
        ("crypto_LUKS", luks()),
        ("unknown", written(4096, &raid)),
        ("unknown", written(0, b"x")),
        ("unknown", written(end - 1, b"x")),
        ("unknown", written(end / 2 + 77_777, b"x")),
        ("unknown", written(0, &fill)),
        ("unknown", written(end - fill.len(), &fill)),
    ]
}

fn luks() -> Bench {
    let bench = Bench::new();
    let key = bench.directory.path().join("key");
    fs::write(&key, "0123456789").unwrap();
    let key = key.to_str().unwrap().to_string();
    let words = ["luksFormat", "-q", "--type", "luks2", "--pbkdf", "pbkdf2"];
    let quick = ["--pbkdf-force-iterations", "1000", "--key-file", &key];
    bench.make("cryptsetup", &[&words[..], &quick[..]].concat());
    bench
}

#[test]
fn foreign_content_is_refused_and_untouched() {
    for (name, bench) in foreign() {
        let before = bench.bytes();
        let (code, message) = bench.run().unwrap_err();
        assert_eq!(code, FOREIGN, "{message}");
        assert!(message.contains(name), "{message}");
        let (code, _) = bench
            .run_with(&["--check", "--device", "/disk"])
            .unwrap_err();
        assert_eq!(code, FOREIGN);
        assert!(before == bench.bytes(), "{name} was touched");
    }
}

#[test]
fn data_behind_a_cleared_beginning_is_seen() {
    let bench = Bench::new();
    bench.resize(300 * 1024 * 1024);
    bench.with_data();
    let image = File::options().write(true).open(bench.image()).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&image, &vec![0; 8 << 20], 0).unwrap();
    let (code, message) = bench.run().unwrap_err();
    assert_eq!(code, FOREIGN, "{message}");
}

#[test]
fn a_file_system_is_kept_and_grows_with_its_partition() {
    let bench = Bench::new();
    bench.with_data();
    assert!(bench.run_with(&["--check", "--device", "/disk"]).is_ok());
    bench.resize(4 * SIZE);
    let (code, _) = bench
        .run_with(&["--check", "--device", "/disk"])
        .unwrap_err();
    assert_eq!(code, TO_DO);
    bench.run().unwrap();
    bench.assert_data();
    let blocks = bench.debugfs("show_super_stats -h");
    let line = blocks.lines().find(|l| l.starts_with("Block count:"));
    let count: u64 = line.unwrap()[12..].trim().parse().unwrap();
    assert_eq!(count * 4096, 4 * SIZE - 64 * 1024);
    let before = bench.bytes();
    bench.run().unwrap();
    assert!(before == bench.bytes(), "the second run changed it");
}

#[test]
fn damage_is_repaired_and_a_shrunk_partition_is_not_touched() {
    let bench = Bench::new();
    bench.with_data();
    bench.debugfs("set_super_value state 2");
    bench.debugfs("set_super_value free_blocks_count 1");
    bench.debugfs("clear_inode <7>");
    bench.run().unwrap();
    bench.assert_data();
    bench.resize(SIZE / 2);
    let before = bench.bytes();
    let (code, message) = bench.run().unwrap_err();
    assert_eq!(code, DAMAGED, "{message}");
    assert!(before == bench.bytes());
}

#[test]
fn what_cannot_be_repaired_is_told_and_a_growth_that_fails_is_not_fatal() {
    let bench = Bench::new();
    bench.with_data();
    bench.resize(4 * SIZE);
    bench.fake("resize2fs", "echo 'out of luck' >&2; exit 1");
    bench.run().unwrap();
    bench.assert_data();
    bench.fake("e2fsck", "exit 4");
    assert_eq!(bench.run().unwrap_err().0, DAMAGED);
}

#[test]
fn half_made_is_made_again_but_not_what_held_data() {
    let bench = Bench::new();
    bench.fake("mkfs.ext4", "head -c 300000 /dev/urandom | dd of=\"$(eval echo \\${$(($#-1))})\" conv=notrunc status=none; kill -9 $$");
    assert_eq!(bench.run().unwrap_err().0, 1);
    let real = Bench::new();
    fs::copy(bench.image(), real.image()).unwrap();
    let (code, _) = real
        .run_with(&["--check", "--device", "/disk"])
        .unwrap_err();
    assert_eq!(code, TO_DO);
    real.run().unwrap();
    real.with_data();
    // Even with the mark, what was mounted once is kept.
    let marked = fs::read(bench.image()).unwrap();
    let image = File::options().write(true).open(real.image()).unwrap();
    let place = SIZE - 4096;
    let mark = &marked[usize::try_from(place).unwrap()..];
    assert!(mark.starts_with(b"edge-ai"));
    std::os::unix::fs::FileExt::write_all_at(&image, mark, place).unwrap();
    real.run().unwrap();
    real.assert_data();
}

#[test]
fn the_boot_finds_it_by_label_and_leaves_link_and_result() {
    let bench = Bench::new();
    let path = |name: &str| bench.directory.path().join(name);
    fs::create_dir_all(path("dev/disk/by-partlabel")).unwrap();
    std::os::unix::fs::symlink(bench.image(), path("dev/disk/by-partlabel/DATA")).unwrap();
    bench.run_with(&[]).unwrap();
    let link = fs::read_link(path("run/edge-ai/data-partition")).unwrap();
    assert_eq!(link, fs::canonicalize(bench.image()).unwrap());
    let line = fs::read_to_string(path("run/edge-ai/boot/edge-partition.json")).unwrap();
    assert!(line.contains(r#""result":"ok","code":0"#), "{line}");
    for name in ["a1", "b1"] {
        fs::create_dir_all(path("sys/class/block").join(name)).unwrap();
        let uevent = path("sys/class/block").join(name).join("uevent");
        fs::write(uevent, "PARTNAME=DATA\n").unwrap();
    }
    let (code, message) = bench.run_with(&[]).unwrap_err();
    assert_eq!(code, AMBIGUOUS, "{message}");
    let line = fs::read_to_string(path("run/edge-ai/boot/edge-partition.json")).unwrap();
    assert!(line.contains("a1 and b1"), "{line}");
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
    assert!(bench.bytes().iter().all(|b| *b == 0));
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
