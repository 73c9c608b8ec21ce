//! Time that has certainly passed: that of the device image and that of the cloud.
//!
//! The clock of a device may be wrong, and whoever has the device can set it back. The
//! image was built at a certain time, and the cloud has stated another one over an
//! authenticated connection; both only rise.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::contract::path::{CLOUD_TIME, IMAGE_TIME};
use crate::{Root, file, time};

/// Size limit of the files, in bytes.
const MAX_FILE_BYTES: u64 = 1024;
/// Latest time that the cloud may state, 2100-01-01. A later one is a mistake, and would
/// let every later ticket look expired.
const MAX_CLOUD_TIME: u64 = 4_102_444_800;
/// Time by which the cloud's must have risen before it is written, in seconds, so that
/// reports do not wear the flash.
const WRITE_INTERVAL: u64 = 3600;

/// Returns the highest of the image's time and the newest time of the cloud, in seconds of
/// Unix time; 0 if neither is known.
pub fn newest(root: &Root) -> u64 {
    image(root).max(cloud(root)).unwrap_or_default()
}

/// Returns the time of the system clock in seconds of Unix time; 0 if it is earlier.
pub fn clock() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| now.as_secs())
}

/// Returns the time of the device image, in seconds of Unix time.
pub fn image(root: &Root) -> Option<u64> {
    let text = file::read_text(&root.path(IMAGE_TIME), MAX_FILE_BYTES).ok()?;
    let text = text.trim();
    let is_time = text.len() == 14 && text.bytes().all(|b| b.is_ascii_digit());
    let [year, month, day, hour, minute, second] =
        [0..4, 4..6, 6..8, 8..10, 10..12, 12..14].map(|part| text.get(part).unwrap_or_default());
    let text = format!("{year}-{month}-{day}T{hour}:{minute}:{second}Z");
    is_time.then(|| time::parse(&text)).flatten()
}

/// Returns the newest time that the cloud has stated.
fn cloud(root: &Root) -> Option<u64> {
    let text = file::read(&root.path(CLOUD_TIME), MAX_FILE_BYTES).ok()?;
    let value: Value = serde_json::from_slice(&text).ok()?;
    value["unix"].as_u64().filter(|t| *t <= MAX_CLOUD_TIME)
}

/// Notes a time that the cloud has stated, if it is at least an hour later than the noted
/// one. Returns whether the file was written.
///
/// # Errors
/// The file cannot be written; it keeps its old content.
pub fn note_cloud(root: &Root, unix: u64) -> Result<bool> {
    let noted = cloud(root);
    if unix > MAX_CLOUD_TIME || noted.is_some_and(|noted| unix < noted + WRITE_INTERVAL) {
        return Ok(false);
    }
    let path = root.path(CLOUD_TIME);
    // Fields of a later version stay: both device images share /data.
    let old = file::read(&path, MAX_FILE_BYTES).unwrap_or_default();
    let mut value = match serde_json::from_slice(&old) {
        Ok(value @ Value::Object(_)) => value,
        _ => json!({}),
    };
    value["v"] = json!(1);
    value["unix"] = json!(unix);
    file::create_directory(path.parent().context("a path without a directory")?, 0o755)?;
    file::write(&path, value.to_string().as_bytes(), 0o644)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root() -> (tempfile::TempDir, Root) {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::at(directory.path());
        file::create_directory(&root.path("/etc"), 0o755).unwrap();
        (directory, root)
    }

    #[test]
    fn the_image_states_its_time() {
        let (_directory, root) = root();
        assert_eq!(newest(&root), 0);
        for (text, expected) in [
            ("20261126083000\n", 1_795_681_800),
            ("", 0),
            ("2026", 0),
            ("2026112608300x", 0),
            ("é0261126083000", 0),
            ("20261326083000", 0),
            ("202611260830001", 0),
        ] {
            file::write(&root.path(IMAGE_TIME), text.as_bytes(), 0o644).unwrap();
            assert_eq!(newest(&root), expected, "{text}");
        }
    }

    #[test]
    fn the_time_of_the_cloud_only_rises() {
        let (_directory, root) = root();
        file::write(&root.path(IMAGE_TIME), b"20260101000000", 0o644).unwrap();
        let image = newest(&root);
        assert!(note_cloud(&root, 1_000_000_000).unwrap());
        assert_eq!(newest(&root), image);
        assert!(note_cloud(&root, 1_800_000_000).unwrap());
        assert_eq!(newest(&root), 1_800_000_000);
        for same in [0, 1_799_999_999, 1_800_003_599, u64::MAX] {
            assert!(!note_cloud(&root, same).unwrap(), "{same}");
        }
        assert!(note_cloud(&root, 1_800_003_600).unwrap());
        let path = root.path(CLOUD_TIME);
        file::write(&path, br#"{"v":1,"unix":1800003600,"later":2}"#, 0o644).unwrap();
        assert!(note_cloud(&root, 1_800_010_000).unwrap());
        assert!(
            file::read_text(&path, 1024)
                .unwrap()
                .contains("\"later\":2")
        );
        for bad in [
            "",
            "{",
            "[]",
            "{}",
            r#"{"unix":-1}"#,
            r#"{"unix":9999999999}"#,
        ] {
            file::write(&path, bad.as_bytes(), 0o644).unwrap();
            assert_eq!(newest(&root), image, "{bad}");
            assert!(note_cloud(&root, 1_800_000_000).unwrap());
        }
    }
}
