//! How far a pull is, over all layers: what edge-app shows.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use edge_common::log;
use serde_json::Value;

/// Least time between two figures.
const PAUSE: Duration = Duration::from_millis(500);

/// Layers that the engine downloads: bytes that are here, and bytes in all.
#[derive(Default)]
pub struct Downloads {
    layers: BTreeMap<String, (u64, u64)>,
    told: Option<Instant>,
}

impl Downloads {
    /// Takes what the engine says; gives the sums when it is time to tell.
    pub fn told(&mut self, line: &Value) -> Option<(u64, u64)> {
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
        let due = self.told.is_none_or(|t| t.elapsed() >= PAUSE);
        if !due && sums.0 < sums.1 {
            return None;
        }
        self.told = Some(Instant::now());
        Some(sums)
    }
}

pub fn print_progress(line: &Value, quiet: bool) {
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

/// A line of what the engine says while it loads or builds.
pub fn print_stream(line: &Value) {
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
        let mut told = |id: &str, status: &str, detail: Value| {
            downloads.told(&json!({ "id": id, "status": status, "progressDetail": detail }))
        };
        let bytes = |here: u64, total: u64| json!({ "current": here, "total": total });
        assert_eq!(told("a", "Pulling fs layer", json!({})), None);
        assert_eq!(told("a", "Downloading", bytes(10, 100)), Some((10, 100)));
        assert_eq!(told("b", "Downloading", bytes(1, 50)), None);
        assert_eq!(told("a", "Extracting", bytes(1, 300)), None);
        assert_eq!(told("a", "Download complete", json!({})), None);
        // The end is told whatever the time.
        let end = told("b", "Download complete", json!({}));
        assert_eq!(end, Some((150, 150)));
        assert_eq!(told("c", "Already exists", json!({})), None);
    }
}
