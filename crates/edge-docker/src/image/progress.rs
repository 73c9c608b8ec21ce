//! Progress of pulls, pushes, loads and builds, from the lines that the engine sends.
//! edge-app parses `downloading N of M` in the output of `pull`.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use edge_common::log;
use serde_json::Value;

/// Minimum time between two reports. The engine sends several lines per second for each
/// layer, and edge-app receives each report over SSH.
const REPORT_INTERVAL: Duration = Duration::from_millis(500);

/// Layers of a pull that the engine is downloading or has downloaded.
#[derive(Default)]
pub(super) struct Downloads {
    /// Bytes downloaded and total bytes of each layer, by its short ID.
    layers: BTreeMap<String, (u64, u64)>,
    /// Time of the last report; `None` before the first one.
    reported: Option<Instant>,
}

impl Downloads {
    /// Processes a line of the engine. If a report is due, returns the bytes downloaded
    /// and the total bytes of all layers.
    pub(super) fn update(&mut self, line: &Value) -> Option<(u64, u64)> {
        let id = line["id"].as_str()?;
        match line["status"].as_str()? {
            "Downloading" => {
                let number = |key: &str| line["progressDetail"][key].as_u64();
                let layer = (number("current")?, number("total")?);
                self.layers.insert(id.into(), layer);
            }
            // The engine limits the rate of its lines and may omit the last one of a
            // layer.
            "Download complete" => {
                let (downloaded, total) = self.layers.get_mut(id)?;
                *downloaded = *total;
            }
            _ => return None,
        }
        let sums = self.layers.values();
        let sums = sums.fold((0, 0), |(a, b), (c, d)| (a + c, b + d));
        let due = self.reported.is_none_or(|t| t.elapsed() >= REPORT_INTERVAL);
        // The end is always reported, because no later line would correct the display of
        // edge-app.
        if !due && sums.0 < sums.1 {
            return None;
        }
        self.reported = Some(Instant::now());
        Some(sums)
    }
}

/// Prints a status line of a pull or push, unless `quiet` is set.
pub(super) fn print_progress(line: &Value, quiet: bool) {
    let status = line["status"].as_str().unwrap_or_default();
    // There are hundreds of lines with a total per layer; `Downloads` adds them up.
    let is_step = line["progressDetail"]["total"].is_null();
    if !quiet && is_step && !status.is_empty() {
        let id = line["id"]
            .as_str()
            .map(|i| format!("{i}: "))
            .unwrap_or_default();
        println!("{}", log::printable(&format!("{id}{status}")));
    }
}

/// Prints a line of a load or build. The author of the image controls the text, so
/// `printable` removes control characters, which could affect the terminal.
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
        // The end is reported although no report is due.
        let end = update("b", "Download complete", json!({}));
        assert_eq!(end, Some((150, 150)));
        assert_eq!(update("c", "Already exists", json!({})), None);
    }
}
