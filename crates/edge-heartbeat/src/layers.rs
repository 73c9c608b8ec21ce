//! Results of the check of image layers in this boot, as edge-docker leaves them.

use edge_common::contract::path::LAYERS_CHECKED;
use edge_common::{Root, boot, file, log};
use serde::Deserialize;
use serde_json::{Value, json};

/// Size limit of the results, in bytes.
const MAX_FILE_BYTES: u64 = 1024 * 1024;
/// Number of images that are named in a report; others are only counted.
const MAX_NAMED: usize = 4;
/// Length limits of a name and of a reason in a report, in characters.
const MAX_NAME_CHARS: usize = 64;
const MAX_REASON_CHARS: usize = 120;

#[derive(Deserialize)]
struct Results {
    boot_id: String,
    images: Vec<Image>,
}

#[derive(Deserialize)]
struct Image {
    name: String,
    state: String,
    #[serde(default)]
    time: String,
    #[serde(default)]
    why: String,
}

/// Returns numbers of images by their state, the damaged ones by name, and the time of the
/// last check; `None` if this boot has no results.
pub(crate) fn report(root: &Root) -> Option<Value> {
    let text = file::read(&root.path(LAYERS_CHECKED), MAX_FILE_BYTES).ok()?;
    let results: Results = serde_json::from_slice(&text).ok()?;
    if results.boot_id != boot::id(root) {
        return None;
    }
    let count = |state: &str| results.images.iter().filter(|i| i.state == state).count();
    let is_named = |image: &&Image| {
        let is_read = !image.time.is_empty();
        image.state == "damaged" || image.state == "unchecked" && is_read
    };
    let named = results.images.iter().filter(is_named).take(MAX_NAMED);
    let named = named.map(|image| {
        json!({ "name": shorten(&image.name, MAX_NAME_CHARS), "state": image.state,
            "time": shorten(&image.time, MAX_NAME_CHARS),
            "why": shorten(&image.why, MAX_REASON_CHARS) })
    });
    let newest = results.images.iter().map(|image| &image.time).max();
    // An array, since the shadow would keep members of an object that are gone.
    Some(
        json!({ "boot_id": results.boot_id, "ok": count("ok"), "damaged": count("damaged"),
        "unchecked": count("unchecked"), "faults": named.collect::<Vec<_>>(),
        "time": newest.map(|time| shorten(time, MAX_NAME_CHARS)) }),
    )
}

fn shorten(text: &str, limit: usize) -> String {
    log::printable(text).chars().take(limit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::root_with;

    const BOOT: (&str, &str) = ("/proc/sys/kernel/random/boot_id", "b1\n");

    #[test]
    fn images_are_counted_and_damaged_ones_named() {
        let image = |state: &str, time: &str| {
            json!({ "id": "sha256:1", "name": "a\u{1b} v1", "state": state, "time": time,
                "why": "x".repeat(900), "later": 1 })
        };
        let mut images = vec![image("ok", "2026-01-02T00:00:00Z"), image("unchecked", "")];
        images.extend((0..300).map(|_| image("damaged", "2026-01-01T00:00:00Z")));
        let text = json!({ "v": 1, "boot_id": "b1", "images": images, "later": {} });
        let text = text.to_string();
        let (_directory, root) = root_with(&[BOOT, (LAYERS_CHECKED, &text)]);
        let report = report(&root).unwrap();
        assert_eq!(report["ok"], 1);
        assert_eq!(
            (&report["damaged"], &report["unchecked"]),
            (&json!(300), &json!(1))
        );
        assert_eq!(report["time"], "2026-01-02T00:00:00Z");
        assert_eq!(report["faults"].as_array().unwrap().len(), MAX_NAMED);
        assert_eq!(report["faults"][0]["name"], "a  v1");
        assert!(report.to_string().len() < 1500, "{report}");
    }

    #[test]
    fn results_of_another_boot_and_broken_ones_are_null() {
        let other = r#"{"v":1,"boot_id":"b0","images":[]}"#;
        for text in ["", "{", "[]", other, &other[..20]] {
            let (_directory, root) = root_with(&[BOOT, (LAYERS_CHECKED, text)]);
            assert_eq!(report(&root), None, "{text}");
        }
    }
}
