//! Free space, wear and errors of the disk that holds `/data`.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};

use edge_common::{Root, file, quotas};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::files::{MAX_TEXT_BYTES, text};

/// Table of the mounts in the namespace of this process.
const MOUNTS: &str = "/proc/self/mountinfo";
/// Size limit of the part of [`MOUNTS`] that is read, in bytes. Each container adds a
/// line of some kilobytes.
const MAX_MOUNTS_BYTES: u64 = 8 * 1024 * 1024;
/// Options of a file system that accepts no writes: mounted so, remounted by the kernel
/// after an error, and in newer kernels marked after an error or shut down.
const READ_ONLY: [&str; 3] = ["ro", "emergency_ro", "shutdown"];

/// File with the output of `nvme smart-log`, written by `edge-disk-health.service`.
/// Reading the data from the disk requires CAP_SYS_ADMIN, which a program with a
/// network connection should not have.
const HEALTH: &str = "/run/edge-ai/disk-health.json";

/// Output of `nvme smart-log` as JSON, with the keys of old and new versions of
/// nvme-cli.
#[derive(Deserialize)]
struct Smart {
    #[serde(alias = "percentage_used")]
    percent_used: Option<u64>,
    avail_spare: Option<u64>,
    media_errors: Option<Number>,
    critical_warning: Option<Value>,
}

/// 128-bit counter of NVMe, which some versions of nvme-cli print as text.
#[derive(Deserialize)]
#[serde(untagged)]
enum Number {
    Plain(u64),
    Text(String),
}

impl Number {
    fn value(&self) -> Option<u64> {
        match self {
            Self::Plain(number) => Some(*number),
            Self::Text(text) => text.replace(',', "").parse().ok(),
        }
    }
}

/// Returns size and free space of `/data` in megabytes, whether it limits the storage of
/// apps, the wear of the disk, and the errors of the file system. An unknown value is null.
pub(crate) fn report(root: &Root) -> Option<Value> {
    let stat = rustix::fs::statvfs(root.path("/data")).ok()?;
    let megabytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize) / 1_000_000;
    let mut facts = Map::new();
    facts.insert("total_mb".into(), json!(megabytes(stat.f_blocks)));
    facts.insert("available_mb".into(), json!(megabytes(stat.f_bavail)));
    let mount = Mount::of_data(root);
    let read_only = mount.as_ref().map(|mount| mount.read_only);
    facts.insert("read_only".into(), read_only.into());
    let quotas = mount.as_ref().and_then(|mount| {
        let device = mount.source.strip_prefix("/dev/")?;
        quotas::apply(root, device)
    });
    facts.insert("quotas".into(), quotas.into());
    let errors = mount.and_then(|mount| errors(root, &mount.source));
    facts.insert("errors".into(), errors.into());
    for (key, value) in wear(root) {
        facts.insert(key.into(), value.into());
    }
    Some(Value::Object(facts))
}

fn wear(root: &Root) -> [(&'static str, Option<Value>); 4] {
    let read = file::read(&root.path(HEALTH), MAX_TEXT_BYTES).ok();
    let smart = read.and_then(|t| serde_json::from_slice::<Smart>(&t).ok());
    let of = |get: fn(&Smart) -> Option<Value>| smart.as_ref().and_then(get);
    [
        (
            "percent_used",
            of(|s| s.percent_used.map(Value::from)).or_else(|| emmc(root)),
        ),
        ("spare_percent", of(|s| s.avail_spare.map(Value::from))),
        (
            "media_errors",
            of(|s| s.media_errors.as_ref()?.value().map(Value::from)),
        ),
        ("warning", of(|s| s.critical_warning.as_ref().map(warning))),
    ]
}

/// Returns whether the disk has set a critical warning. Newer versions of nvme-cli
/// print an object with the single bits instead of a number.
fn warning(critical_warning: &Value) -> Value {
    let value = critical_warning.get("value");
    let value = value.unwrap_or(critical_warning);
    json!(value.as_u64() != Some(0))
}

/// Returns the wear of eMMC flash in percent. The kernel reports it in steps of 10 %.
fn emmc(root: &Root) -> Option<Value> {
    let text = text(root, "/sys/block/mmcblk0/device/life_time")?;
    let steps = text.split_whitespace().filter_map(|field| {
        let number = field.strip_prefix("0x")?;
        u64::from_str_radix(number, 16).ok()
    });
    // The file has one value for each type of flash cells: 0 means "not defined", and
    // 11 means "beyond the estimated life".
    let worst = steps.max().filter(|s| (1..=11).contains(s))?;
    Some(json!(worst * 10))
}

/// File system that is mounted at `/data`.
struct Mount {
    /// Device, for example `/dev/nvme0n1p16`.
    source: String,
    /// Whether the file system accepts no writes.
    read_only: bool,
}

impl Mount {
    /// Finds `/data` among the mounts of this process; `None` if it is not mounted.
    fn of_data(root: &Root) -> Option<Self> {
        let table = File::open(root.path(MOUNTS)).ok()?.take(MAX_MOUNTS_BYTES);
        let lines = BufReader::new(table).split(b'\n').map_while(Result::ok);
        // A later mount covers an earlier one at the same place.
        lines
            .filter_map(|line| Self::parse(&String::from_utf8_lossy(&line)))
            .last()
    }

    fn parse(line: &str) -> Option<Self> {
        let (mount, file_system) = line.split_once(" - ")?;
        if mount.split(' ').nth(4) != Some("/data") {
            return None;
        }
        let mut fields = file_system.split(' ').skip(1);
        let (source, options) = (fields.next()?, fields.next()?);
        // The options of the file system, not those of the mount: ProtectSystem= of
        // edge-heartbeat.service makes every mount of its own namespace read-only.
        let read_only = options.split(',').any(|o| READ_ONLY.contains(&o));
        Some(Self {
            source: source.into(),
            read_only,
        })
    }
}

/// Returns the number of errors that ext4 has recorded for the partition `source`.
fn errors(root: &Root, source: &str) -> Option<u64> {
    let device = source.strip_prefix("/dev/")?;
    let count = text(root, &format!("/sys/fs/ext4/{device}/errors_count"))?;
    count.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::root_with;

    #[test]
    fn both_formats_of_nvme_cli_are_read() {
        for output in [
            r#"{"critical_warning":0,"avail_spare":100,"percent_used":3,"media_errors":0,"x":1}"#,
            r#"{"critical_warning":{"value":0,"available_spare":0},"avail_spare":100,
                "percentage_used":3,"media_errors":"0"}"#,
        ] {
            let (_directory, root) = root_with(&[(HEALTH, output), ("/data/x", "")]);
            let facts = report(&root).unwrap();
            assert_eq!(facts["percent_used"], 3);
            assert_eq!(
                (&facts["warning"], &facts["media_errors"]),
                (&json!(false), &json!(0))
            );
        }
        let (_directory, root) =
            root_with(&[(HEALTH, r#"{"critical_warning":4}"#), ("/data/x", "")]);
        assert_eq!(report(&root).unwrap()["warning"], true);
    }

    #[test]
    fn unknown_facts_are_null() {
        let (_directory, root) = root_with(&[(HEALTH, "nonsense"), ("/data/x", "")]);
        let facts = report(&root).unwrap();
        assert!(facts["total_mb"].is_u64());
        for key in [
            "percent_used",
            "spare_percent",
            "media_errors",
            "warning",
            "errors",
            "quotas",
            "read_only",
        ] {
            assert!(facts[key].is_null(), "{key}");
        }
    }

    #[test]
    fn wear_of_flash_and_errors_of_the_file_system_are_read() {
        let (_directory, root) = root_with(&[
            ("/data/x", ""),
            ("/sys/block/mmcblk0/device/life_time", "0x02 0x03\n"),
            (MOUNTS, &mounts("ro", "rw")),
            ("/sys/fs/ext4/nvme0n1p16/errors_count", "4\n"),
            ("/proc/fs/ext4/nvme0n1p16/options", "rw\nprjquota\n"),
        ]);
        let facts = report(&root).unwrap();
        assert_eq!(
            (&facts["percent_used"], &facts["errors"]),
            (&json!(30), &json!(4))
        );
        assert_eq!(facts["quotas"], true);
    }

    /// Returns the table of mounts of a sandboxed process, with the options of the mount
    /// and of the file system of `/data`.
    fn mounts(mount: &str, file_system: &str) -> String {
        format!(
            "21 1 259:1 / / ro,relatime shared:1 - ext4 /dev/root ro\n\
             30 21 259:3 / /data {mount},noatime shared:9 master:1 - ext4 /dev/nvme0n1p16 {file_system},errors=remount-ro\n\
             31 30 259:3 /config/vpn /data/config/vpn rw,noatime - ext4 /dev/nvme0n1p16 {file_system}\n\
             32 30 0:40 / /data/docker/\u{e9} ro - overlay overlay ro,lowerdir=/data/x\n"
        )
    }

    #[test]
    fn the_file_system_counts_and_not_the_sandbox() {
        for (mount, file_system, read_only) in [
            ("ro", "rw", json!(false)),
            ("rw", "rw", json!(false)),
            ("ro", "ro", json!(true)),
            ("rw", "rw,emergency_ro", json!(true)),
            ("ro", "rw,shutdown", json!(true)),
        ] {
            let table = mounts(mount, file_system);
            let (_directory, root) = root_with(&[("/data/x", ""), (MOUNTS, &table)]);
            assert_eq!(report(&root).unwrap()["read_only"], read_only, "{table}");
        }
        for damaged in [
            "",
            "30 21 259:3 / /data",
            "- - -\n\n",
            "30 21 0:1 / /data rw - ext4",
        ] {
            let (_directory, root) = root_with(&[("/data/x", ""), (MOUNTS, damaged)]);
            assert!(report(&root).unwrap()["read_only"].is_null(), "{damaged}");
        }
    }
}
