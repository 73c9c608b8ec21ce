//! Progress of pulls, loads and builds. edge-app parses `downloading N of M`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use edge_common::log;
use serde_json::Value;

/// Shortest time between two reports. The engine sends several lines a second for each
/// layer, and each report travels to edge-app over SSH.
const REPORT_INTERVAL: Duration = Duration::from_millis(500);

/// Layers that the engine is downloading.
#[derive(Default)]
pub(super) struct Downloads {
    /// By layer: bytes downloaded, and bytes in all.
    layers: BTreeMap<String, (u64, u64)>,
    /// Time of the last report.
    reported: Option<Instant>,
}

impl Downloads {
    /// Reads a line of the engine; when a report is due, returns bytes downloaded and
    /// bytes in all, over all layers.
    pub(super) fn update(&mut self, line: &Value) -> Option<(u64, u64)> {
        let id = line["id"].as_str()?;
        match line["status"].as_str()? {
            "Downloading" => {
                let number = |key: &str| line["progressDetail"][key].as_u64();
                let layer = (number("current")?, number("total")?);
                self.layers.insert(id.into(), layer);
            }
            // The engine limits the rate of its lines and may omit the last of a layer.
            "Download complete" => {
                let (downloaded, total) = self.layers.get_mut(id)?;
                *downloaded = *total;
            }
            _ => return None,
        }
        let sums = self.layers.values();
        let sums = sums.fold((0, 0), |(a, b), (c, d)| (a + c, b + d));
        let due = self.reported.is_none_or(|t| t.elapsed() >= REPORT_INTERVAL);
        // The end is reported in any case: no later line would correct edge-app's display.
        if !due && sums.0 < sums.1 {
            return None;
        }
        self.reported = Some(Instant::now());
        Some(sums)
    }
}

/// Prints a step of a pull or push, unless `quiet`.
pub(super) fn print_progress(line: &Value, quiet: bool) {
    let status = line["status"].as_str().unwrap_or_default();
    // A line with a total is one of hundreds of the same layer: `Downloads` sums them.
    let is_step = line["progressDetail"]["total"].is_null();
    if !quiet && is_step && !status.is_empty() {
        let id = line["id"]
            .as_str()
            .map(|i| format!("{i}: "))
            .unwrap_or_default();
        println!("{}", log::printable(&format!("{id}{status}")));
    }
}

/// Prints a line of a load or build. The text is of the image's author: `printable` keeps
/// its control characters from the terminal.
pub(super) fn print_stream(line: &Value) {
    for key in ["stream", "status"] {
        if let Some(text) = line[key].as_str() {
            for part in text.lines().filter(|l| !l.is_empty()) {
                println!("{}", log::printable(part));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn layers_are_summed() {
        let mut downloads = Downloads::default();
        let mut update = |id: &str, status: &str, detail: Value| {
            downloads.update(&json!({ "id": id, "status": status, "progressDetail": detail }))
        };
        let bytes = |here: u64, total: u64| json!({ "current": here, "total": total });
        assert_eq!(update("a", "Pulling fs layer", json!({})), None);
        assert_eq!(update("a", "Downloading", bytes(10, 100)), Some((10, 100)));
        assert_eq!(update("b", "Downloading", bytes(1, 50)), None);
        assert_eq!(update("a", "Extracting", bytes(1, 300)), None);
        assert_eq!(update("a", "Download complete", json!({})), None);
        // The end is reported whatever the time.
        let end = update("b", "Download complete", json!({}));
        assert_eq!(end, Some((150, 150)));
        assert_eq!(update("c", "Already exists", json!({})), None);
    }
}
