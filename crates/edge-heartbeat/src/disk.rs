//! Free space, wear and errors of the disk that holds `/data`.

use edge_common::{Root, file};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::files::{MAX_TEXT_BYTES, text};

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

/// Returns size and free space of `/data` in megabytes, the wear of the disk, and the
/// errors of the file system. An unknown value is null.
pub(crate) fn report(root: &Root) -> Option<Value> {
    let stat = rustix::fs::statvfs(root.path("/data")).ok()?;
    let megabytes = |blocks: u64| blocks.saturating_mul(stat.f_frsize) / 1_000_000;
    let mut facts = Map::new();
    facts.insert("total_mb".into(), json!(megabytes(stat.f_blocks)));
    facts.insert("available_mb".into(), json!(megabytes(stat.f_bavail)));
    let read_only = stat.f_flag.contains(rustix::fs::StatVfsMountFlags::RDONLY);
    facts.insert("read_only".into(), json!(read_only));
    facts.insert("errors".into(), errors(root).into());
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

/// Returns the number of errors that ext4 has recorded for the partition of `/data`.
fn errors(root: &Root) -> Option<u64> {
    let mounts = text(root, "/proc/self/mounts")?;
    let data_device = |line: &str| -> Option<String> {
        let mut fields = line.split(' ');
        let device = fields.next()?.strip_prefix("/dev/")?;
        (fields.next() == Some("/data")).then(|| device.to_string())
    };
    let device = mounts.lines().find_map(data_device)?;
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
            assert_eq!(facts["read_only"], false);
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
        ] {
            assert!(facts[key].is_null(), "{key}");
        }
    }

    #[test]
    fn wear_of_flash_and_errors_of_the_file_system_are_read() {
        let (_directory, root) = root_with(&[
            ("/data/x", ""),
            ("/sys/block/mmcblk0/device/life_time", "0x02 0x03\n"),
            (
                "/proc/self/mounts",
                "/dev/root / ext4 ro 0 0\n/dev/nvme0n1p16 /data ext4 rw 0 0\n",
            ),
            ("/sys/fs/ext4/nvme0n1p16/errors_count", "4\n"),
        ]);
        let facts = report(&root).unwrap();
        assert_eq!(
            (&facts["percent_used"], &facts["errors"]),
            (&json!(30), &json!(4))
        );
    }
}
