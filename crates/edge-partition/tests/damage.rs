//! Damaged file systems: `edge-partition` keeps at least as many files as the best way
//! of plain e2fsck, or changes nothing. Files are counted by their content.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use edge_partition::exit_code::{DAMAGED, FOREIGN_CONTENT, LOSSY};

const BLOCK: u64 = 4096;
const SIZE: u64 = 400 * 1024 * 1024;
const FILES: usize = 400;

fn run(program: &str, args: &[&str], image: &Path) -> Output {
    let path = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"].map(|d| Path::new(d).join(program));
    let path = path.iter().find(|p| p.exists());
    let path = path.unwrap_or_else(|| panic!("{program} is missing: apt-get install e2fsprogs"));
    Command::new(path).args(args).arg(image).output().unwrap()
}

fn text(program: &str, args: &[&str], image: &Path) -> String {
    String::from_utf8_lossy(&run(program, args, image).stdout).into_owned()
}

fn debugfs(image: &Path, request: &str) -> String {
    text("debugfs", &["-w", "-R", request], image)
}

/// File system with known files, and the places of its metadata.
struct Sample {
    directory: tempfile::TempDir,
    contents: BTreeSet<String>,
}

impl Sample {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let files = directory.path().join("files");
        let mut contents = BTreeSet::new();
        for number in 0..FILES {
            let place = files.join(format!("app{}/state/level{}", number % 7, number % 5));
            fs::create_dir_all(&place).unwrap();
            let content = format!("file {number} ").repeat(1 + number % 900);
            fs::write(place.join(format!("file-{number}")), &content).unwrap();
            contents.insert(content);
        }
        let sample = Self {
            directory,
            contents,
        };
        let image = sample.image("sample");
        File::create(&image).unwrap().set_len(SIZE).unwrap();
        let blocks = (SIZE / BLOCK - 16).to_string();
        let files = files.to_str().unwrap();
        // Few inodes, so that each group holds some of the files.
        let options = [
            "-q", "-L", "data", "-b", "4096", "-N", "640", "-m", "1", "-d", files,
        ];
        let features = ["-O", "project,quota", "-E", "quotatype=prjquota"];
        let mut mkfs = Command::new("/usr/sbin/mkfs.ext4");
        mkfs.args(options).args(features).arg(&image).arg(blocks);
        assert!(mkfs.status().unwrap().success());
        debugfs(&image, "set_super_value mnt_count 3");
        run("e2fsck", &["-f", "-p"], &image);
        assert_eq!(sample.count(&image), FILES);
        sample
    }

    fn image(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn copy(&self, from: &Path, name: &str) -> PathBuf {
        let to = self.image(name);
        let mut copy = Command::new("/bin/cp");
        copy.arg("--sparse=always").arg(from).arg(&to);
        assert!(copy.status().unwrap().success());
        to
    }

    /// Counts the files of which the content is whole, in any directory.
    fn count(&self, image: &Path) -> usize {
        let out = self.image("out");
        let _ = fs::remove_dir_all(&out);
        fs::create_dir_all(&out).unwrap();
        // -c: without the bitmaps, which are no part of the files.
        text(
            "debugfs",
            &["-c", "-R", &format!("rdump / {}", out.display())],
            image,
        );
        let mut found = BTreeSet::new();
        let mut directories = vec![out];
        while let Some(directory) = directories.pop() {
            for entry in fs::read_dir(directory).unwrap().flatten() {
                let kind = entry.file_type().unwrap();
                if kind.is_dir() {
                    directories.push(entry.path());
                } else if kind.is_file() {
                    found.insert(fs::read(entry.path()).unwrap());
                }
            }
        }
        let whole = self
            .contents
            .iter()
            .filter(|c| found.contains(c.as_bytes()));
        whole.count()
    }

    /// Returns the number of files that the best way of plain e2fsck keeps.
    fn best_of_plain(&self, damaged: &Path) -> (usize, String) {
        let ways: [&[&[&str]]; 5] = [
            &[&["-p"]],
            &[&["-y"]],
            &[&["-p"], &["-y"]],
            &[&["-y", "-f", "-b", "32768", "-B", "4096"]],
            &[&["-y", "-f", "-b", "98304", "-B", "4096"]],
        ];
        let tried = ways.map(|way| {
            let image = self.copy(damaged, "plain");
            for options in way {
                run("e2fsck", options, &image);
            }
            (self.count(&image), format!("{way:?}"))
        });
        tried.into_iter().max().unwrap()
    }
}

/// Damage: kind, place in bytes, and what is written there.
struct Damage {
    name: String,
    offset: u64,
    bytes: Vec<u8>,
}

fn noise(seed: u64, length: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 32) as u8
    };
    (0..length).map(|_| next()).collect()
}

/// Returns the number behind `key` in the part of a text that begins with `section`.
fn number(text: &str, section: &str, key: &str) -> u64 {
    let part = &text[text.find(section).unwrap()..];
    let behind = &part[part.find(key).unwrap() + key.len()..];
    let digits = behind.trim_start().chars().take_while(char::is_ascii_digit);
    digits.collect::<String>().parse().unwrap()
}

/// Returns all damages: 12 kinds, each at several places and of several sizes.
fn damages(sample: &Path) -> Vec<Damage> {
    let layout = text("dumpe2fs", &[], sample);
    let at = |group: u64, key: &str| number(&layout, &format!("Group {group}:"), key) * BLOCK;
    let block_of = |path: &str| number(&debugfs(sample, &format!("blocks {path}")), "", "") * BLOCK;
    let tables = [0, 1, 2].map(|g| at(g, "Inode table at"));
    let directories = ["/", "/app3/state", "/app3/state/level1"].map(block_of);
    let journal = block_of("<8>");
    let regions: [(&str, Vec<u64>); 8] = [
        ("superblock", vec![1024]),
        ("descriptors", vec![BLOCK, BLOCK + 64]),
        (
            "block bitmap",
            [0, 1].map(|g| at(g, "Block bitmap at")).to_vec(),
        ),
        (
            "inode bitmap",
            [0, 1].map(|g| at(g, "Inode bitmap at")).to_vec(),
        ),
        (
            "inode table",
            tables
                .iter()
                .flat_map(|t| [*t, t + 2 * BLOCK, t + 7 * BLOCK])
                .collect(),
        ),
        ("journal", vec![journal, journal + 3 * BLOCK]),
        ("directory", directories.to_vec()),
        ("copies", vec![32768 * BLOCK, 32769 * BLOCK]),
    ];
    let sizes = [
        ("zeros", 256),
        ("zeros", 4096),
        ("zeros", 32768),
        ("noise", 128),
        ("noise", 4096),
    ];
    let mut damages = Vec::new();
    for (region, places) in regions {
        for (kind, size) in sizes {
            for offset in &places {
                let bytes = match kind {
                    "zeros" => vec![0; size],
                    _ => noise(offset + size as u64, size),
                };
                let name = format!("{size} bytes of {kind}, {region} at {offset}");
                damages.push(Damage {
                    name,
                    offset: *offset,
                    bytes,
                });
            }
        }
    }
    damages.extend([8192, 1 << 18, 1 << 20, 4 << 20, 40 << 20].map(beginning));
    damages.extend((0..12).map(|number| bit(sample, tables[0], number)));
    damages
}

fn beginning(size: usize) -> Damage {
    let name = format!("the first {size} bytes zeroed");
    Damage {
        name,
        offset: 0,
        bytes: vec![0; size],
    }
}

/// Single bit in the inode table, as of a failing memory.
fn bit(sample: &Path, table: u64, number: u64) -> Damage {
    let offset = table + 256 * 11 + number * 997;
    let mut byte = [0];
    let file = File::open(sample).unwrap();
    file.read_exact_at(&mut byte, offset).unwrap();
    let bytes = vec![byte[0] ^ 1 << (number % 8)];
    Damage {
        name: format!("a bit at {offset}"),
        offset,
        bytes,
    }
}

/// First case and distance between two cases: all of them in the campaign (`cargo xtask
/// campaign disk`), a sample in the daily tests.
fn selected() -> (usize, usize) {
    let text = std::env::var("EDGE_DAMAGES").unwrap_or("0+23".into());
    let (first, every) = text
        .split_once('+')
        .expect("EDGE_DAMAGES is FIRST+DISTANCE");
    (first.parse().unwrap(), every.parse().unwrap())
}

fn partition(image: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_edge-partition"));
    command.args(["--timeout", "0", "--device"]).arg(image);
    command.output().unwrap()
}

fn assert_equal(a: &Path, b: &Path, at: &str) {
    let same = Command::new("/usr/bin/cmp")
        .arg("-s")
        .arg(a)
        .arg(b)
        .status();
    assert!(same.unwrap().success(), "{at}: the partition was changed");
}

#[test]
fn damage_costs_no_file_that_plain_e2fsck_keeps() {
    let sample = Sample::new();
    let image = sample.image("sample");
    // As the kernel leaves it after it met the damage.
    let noticed = sample.copy(&image, "noticed");
    debugfs(&noticed, "set_super_value state 2");
    let damages = damages(&image);
    println!("{} cases", damages.len());
    let mut repaired = 0;
    let (first, every) = selected();
    for (number, damage) in damages.iter().enumerate().skip(first).step_by(every) {
        let is_noticed = number / 2 % 2 == 0;
        let before = if is_noticed { &noticed } else { &image };
        let damaged = sample.copy(before, "damaged");
        let file = File::options().write(true).open(&damaged).unwrap();
        file.write_all_at(&damage.bytes, damage.offset).unwrap();
        let ours = sample.copy(&damaged, "ours");
        let mut output = partition(&ours);
        if !is_noticed && output.status.success() {
            // A clean file system is mounted without a full check; then the kernel meets
            // the damage, and the next boot repairs.
            run("tune2fs", &["-E", "force_fsck"], &ours);
            sample.copy(&ours, "damaged");
            output = partition(&ours);
        }
        let message = String::from_utf8_lossy(&output.stderr).into_owned();
        let at = format!("case {number}, {}: {message}", damage.name);
        let (best, way) = sample.best_of_plain(&damaged);
        match output.status.code().unwrap() {
            0 => {
                let kept = sample.count(&ours);
                assert!(kept >= best, "{at}: {kept} files, {way} keeps {best}");
                let checked = run("e2fsck", &["-f", "-n"], &ours);
                assert!(checked.status.success(), "{at}: {checked:?}");
                repaired += 1;
                println!(
                    "case {number}, {}: {kept} of {FILES} files, e2fsck {best}",
                    damage.name
                );
            }
            code => {
                let code = u8::try_from(code).unwrap();
                assert!([DAMAGED, FOREIGN_CONTENT, LOSSY].contains(&code), "{at}");
                assert!(!message.contains("wipefs"), "{at}");
                assert_equal(&damaged, &ours, &at);
                println!(
                    "case {number}, {}: refused ({code}), e2fsck {best}",
                    damage.name
                );
            }
        }
    }
    assert!(repaired > 0);
}
