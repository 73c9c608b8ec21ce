//! Progress of pulls, loads and builds. edge-app parses `downloading N of M`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use edge_common::log;
use serde_json::Value;

/// Shortest time between two reports.
const REPORT_INTERVAL: Duration = Duration::from_millis(500);

/// Layers that the engine downloads: bytes that have arrived, and bytes in all.
#[derive(Default)]
pub(super) struct Downloads {
    layers: BTreeMap<String, (u64, u64)>,
    reported: Option<Instant>,
}

impl Downloads {
    /// Adds a line of the engine; returns the sums when a report is due.
    pub(super) fn update(&mut self, line: &Value) -> Option<(u64, u64)> {
        let id = line["id"].as_str()?;
        match line["status"].as_str()? {
            "Downloading" => {
                let number = |key: &str| line["progressDetail"][key].as_u64();
                let layer = (number("current")?, number("total")?);
                self.layers.insert(id.into(), layer);
            }
            "Download complete" => {
                let (here, total) = self.layers.get_mut(id)?;
                *here = *total;
            }
            _ => return None,
        }
        let sums = self.layers.values();
        let sums = sums.fold((0, 0), |(a, b), (c, d)| (a + c, b + d));
        let due = self.reported.is_none_or(|t| t.elapsed() >= REPORT_INTERVAL);
        if !due && sums.0 < sums.1 {
            return None;
        }
        self.reported = Some(Instant::now());
        Some(sums)
    }
}

/// Prints the state of a layer, apart from counts of bytes.
pub(super) fn print_progress(line: &Value, quiet: bool) {
    let status = line["status"].as_str().unwrap_or_default();
    let finished = line["progressDetail"]["total"].is_null();
    if !quiet && finished && !status.is_empty() {
        let id = line["id"]
            .as_str()
            .map(|i| format!("{i}: "))
            .unwrap_or_default();
        println!("{}", log::printable(&format!("{id}{status}")));
    }
}

/// Prints a line of the engine's output of a load or a build.
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
