//! File systems of which somebody cleared the beginning: none is taken for an empty
//! partition, and none is formatted.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Output};

use edge_partition::exit_code::{FOREIGN_CONTENT, UNREADABLE};

const MIB: usize = 1 << 20;

/// Programs that make a file system, their options, and the package of each.
const KINDS: [(&str, &[&str], &str); 8] = [
    ("mkfs.btrfs", &["-q"], "btrfs-progs"),
    ("mkfs.f2fs", &["-q"], "f2fs-tools"),
    ("mkfs.xfs", &["-q"], "xfsprogs"),
    (
        "mkfs.vfat",
        &["-F", "32", "-s", "1", "-n", "CAMERA"],
        "dosfstools",
    ),
    ("mkntfs", &["-q", "-Q", "-F"], "ntfs-3g"),
    ("mkfs.ext4", &["-q"], "e2fsprogs"),
    ("mkfs.ext4", &["-q", "-b", "1024"], "e2fsprogs"),
    (
        "mkfs.ext4",
        &["-q", "-b", "2048", "-O", "^metadata_csum,^64bit"],
        "e2fsprogs",
    ),
];

fn partition(image: &Path, options: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_edge-partition"));
    command
        .args(options)
        .args(["--timeout", "0", "--device"])
        .arg(image);
    command.output().unwrap()
}

fn copy(from: &Path, to: &Path) {
    let mut copy = Command::new("/bin/cp");
    let status = copy.arg("--sparse=always").arg(from).arg(to).status();
    assert!(status.unwrap().success());
}

#[test]
fn a_file_system_with_a_cleared_beginning_is_not_empty() {
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("disk");
    let cleared = directory.path().join("cleared");
    let before = directory.path().join("before");
    for (tool, options, package) in KINDS {
        let _ = std::fs::remove_file(&image);
        File::create(&image).unwrap().set_len(400 << 20).unwrap();
        let path = Path::new("/usr/sbin").join(tool);
        assert!(
            path.exists(),
            "{tool} is missing: apt-get install {package}"
        );
        let made = Command::new(path)
            .args(options)
            .arg(&image)
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        for size in [4096, 4 * MIB] {
            copy(&image, &cleared);
            let file = File::options().write(true).open(&cleared).unwrap();
            file.write_all_at(&vec![0; size], 0).unwrap();
            copy(&cleared, &before);
            for options in [&["--check"][..], &[]] {
                let output = partition(&cleared, options);
                let message = String::from_utf8_lossy(&output.stderr).into_owned();
                let at = format!("{tool} with {size} bytes cleared: {message}");
                assert_eq!(output.status.code(), Some(FOREIGN_CONTENT.into()), "{at}");
                assert!(
                    !message.contains("wipefs") && !message.contains("blkdiscard"),
                    "{at}"
                );
            }
            let same = Command::new("/usr/bin/cmp")
                .arg(&before)
                .arg(&cleared)
                .output();
            let same = same.unwrap();
            assert!(same.status.success(), "{tool}: {same:?}");
        }
    }
}

#[test]
fn a_copy_names_the_kind_of_file_system() {
    let directory = tempfile::tempdir().unwrap();
    let image = directory.path().join("disk");
    for (tool, size, name) in [
        ("mkfs.btrfs", 4 * MIB, "btrfs"),
        ("mkfs.f2fs", 4096, "f2fs"),
        ("mkfs.xfs", 4 * MIB, "xfs"),
    ] {
        let _ = std::fs::remove_file(&image);
        File::create(&image).unwrap().set_len(400 << 20).unwrap();
        let made = Command::new(Path::new("/usr/sbin").join(tool))
            .arg("-q")
            .arg(&image)
            .output();
        assert!(made.unwrap().status.success());
        let file = File::options().write(true).open(&image).unwrap();
        file.write_all_at(&vec![0; size], 0).unwrap();
        let output = partition(&image, &[]);
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            message.contains(&format!("a copy of the superblock of {name}")),
            "{message}"
        );
    }
}

/// Creates a file system with files, which the kernel marked as damaged.
fn noticed(directory: &Path) -> std::path::PathBuf {
    let files = directory.join("files");
    for number in 0..200 {
        let place = files.join(format!("d{}", number % 5));
        std::fs::create_dir_all(&place).unwrap();
        std::fs::write(place.join(format!("f{number}")), "x".repeat(500)).unwrap();
    }
    let image = directory.join("disk");
    File::create(&image).unwrap().set_len(300 << 20).unwrap();
    let mut mkfs = Command::new("/usr/sbin/mkfs.ext4");
    mkfs.args(["-q", "-L", "data", "-b", "4096", "-d"]);
    assert!(
        mkfs.arg(&files)
            .arg(&image)
            .arg("76000")
            .status()
            .unwrap()
            .success()
    );
    debugfs(&image, "set_super_value mnt_count 3");
    debugfs(&image, "set_super_value state 2");
    image
}

fn debugfs(image: &Path, request: &str) -> String {
    let mut debugfs = Command::new("/usr/sbin/debugfs");
    let output = debugfs.args(["-w", "-R", request]).arg(image).output();
    String::from_utf8_lossy(&output.unwrap().stdout).into_owned()
}

/// Returns the number behind `key`.
fn number(text: &str, key: &str) -> u64 {
    let behind = text.split(key).nth(1).unwrap().trim_start();
    let digits = behind.chars().take_while(char::is_ascii_digit);
    digits.collect::<String>().parse().unwrap()
}

/// Disk with blocks that cannot be read: a library that answers reads of them with EIO,
/// for edge-partition and all programs that it runs.
#[test]
fn read_errors_in_metadata_are_refused_and_nothing_is_rewritten() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let library = path("bad_blocks.so");
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/bad_blocks.c");
    let mut compiler = Command::new("/usr/bin/gcc");
    compiler
        .args(["-shared", "-fPIC", "-O", "-o"])
        .arg(&library)
        .arg(source)
        .arg("-ldl");
    assert!(compiler.status().unwrap().success());
    let image = noticed(directory.path());
    let groups = Command::new("/usr/sbin/dumpe2fs").arg(&image).output();
    let groups = String::from_utf8_lossy(&groups.unwrap().stdout).into_owned();
    let blocks = |path: &str| format!("at {}", debugfs(&image, &format!("blocks {path}")));
    let places = [
        (
            "inode table",
            number(&debugfs(&image, "imap /d0"), "located at block "),
        ),
        ("directory", number(&blocks("/d3"), "at ")),
        ("root directory", number(&blocks("/"), "at ")),
        ("inode bitmap", number(&groups, "Inode bitmap at ")),
        ("group descriptors", 1),
    ];
    for (name, bad) in places {
        let damaged = path("damaged");
        copy(&image, &damaged);
        let mut command = Command::new(env!("CARGO_BIN_EXE_edge-partition"));
        command.args(["--timeout", "0", "--device"]).arg(&damaged);
        command
            .env("LD_PRELOAD", &library)
            .env("BAD_FILE", &damaged);
        command.env("BAD_START", (bad * 4096).to_string());
        let output = command.output().unwrap();
        let at = format!("{name}: {}", String::from_utf8_lossy(&output.stderr));
        assert_eq!(output.status.code(), Some(UNREADABLE.into()), "{at}");
        let same = Command::new("/usr/bin/cmp")
            .arg(&image)
            .arg(&damaged)
            .output()
            .unwrap();
        assert!(same.status.success(), "{at}: {same:?}");
    }
}
