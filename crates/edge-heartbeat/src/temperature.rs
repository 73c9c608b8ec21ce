//! Temperatures, throttling and over-current events, from the sysfs classes of Linux
//! and of NVIDIA's boards.

use std::fs;

use edge_common::Root;
use serde_json::{Map, Value, json};

use crate::files::text;

const THERMAL: &str = "/sys/class/thermal";
const HWMON: &str = "/sys/class/hwmon";
/// Maximum number of entries that are read from one sysfs directory.
const MAX_ENTRIES: usize = 256;
/// Maximum number of cooling devices in a report.
const MAX_ACTIVE: usize = 16;
/// Length limit of a value from sysfs, in characters.
const MAX_VALUE_CHARS: usize = 32;

/// Returns the temperature in degrees Celsius of each sensor: thermal zones and the
/// NVMe disk, or on a board without thermal zones all hwmon sensors.
pub(crate) fn temperatures(root: &Root) -> Option<Value> {
    let mut found = Map::new();
    for directory in directories(root, THERMAL, "thermal_zone") {
        if let (Some(name), Some(degrees)) = (
            value(root, &format!("{directory}/type")),
            degrees(root, &format!("{directory}/temp")),
        ) {
            found.insert(name, degrees);
        }
    }
    let zones = !found.is_empty();
    for directory in directories(root, HWMON, "hwmon") {
        let Some(name) = value(root, &format!("{directory}/name")) else {
            continue;
        };
        // The other hwmon sensors have the same values as the thermal zones.
        if zones && name != "nvme" {
            continue;
        }
        if let Some(degrees) = degrees(root, &format!("{directory}/temp1_input")) {
            found.entry(name).or_insert(degrees);
        }
    }
    (!found.is_empty()).then_some(Value::Object(found))
}

/// Returns the types of the active cooling devices that throttle the board, an empty
/// list if none is active, and `None` if the board has no such device.
pub(crate) fn throttling(root: &Root) -> Option<Value> {
    let mut any = false;
    let mut active = Vec::new();
    for directory in directories(root, THERMAL, "cooling_device") {
        let kind = value(root, &format!("{directory}/type"));
        let state = value(root, &format!("{directory}/cur_state"));
        if let (Some(kind), Some(Ok(state))) = (kind, state.map(|s| s.parse::<u32>())) {
            // A fan cools without throttling the board.
            if kind.contains("fan") {
                continue;
            }
            any = true;
            if state > 0 && active.len() < MAX_ACTIVE {
                active.push(kind);
            }
        }
    }
    active.sort();
    active.dedup();
    any.then(|| json!(active))
}

/// Returns the number of over-current events of the board's power supply since boot,
/// from Tegra's `soctherm_oc`. They are the usual cause of throttling without heat.
pub(crate) fn over_current(root: &Root) -> Option<Value> {
    let mut sum = None;
    for directory in directories(root, HWMON, "hwmon") {
        for number in 1..=8 {
            let count = value(root, &format!("{directory}/oc{number}_event_cnt"));
            if let Some(count) = count.and_then(|c| c.parse::<u64>().ok()) {
                sum = Some(count.saturating_add(sum.unwrap_or(0)));
            }
        }
    }
    sum.map(Value::from)
}

fn directories(root: &Root, path: &str, prefix: &str) -> Vec<String> {
    let entries = fs::read_dir(root.path(path)).into_iter().flatten();
    let names = entries
        .flatten()
        .take(MAX_ENTRIES)
        .map(|e| e.file_name().to_string_lossy().into_owned());
    let mut directories: Vec<_> = names
        .filter(|n| n.starts_with(prefix))
        .map(|n| format!("{path}/{n}"))
        .collect();
    directories.sort();
    directories
}

fn value(root: &Root, path: &str) -> Option<String> {
    let text = text(root, path)?;
    let value: String = text.trim().chars().take(MAX_VALUE_CHARS).collect();
    (!value.is_empty() && !value.contains(char::is_control)).then_some(value)
}

fn degrees(root: &Root, path: &str) -> Option<Value> {
    let milli: i32 = value(root, path)?.parse().ok()?;
    // Tegra reports -256 °C for a component that is powered off.
    (-60_000..=200_000)
        .contains(&milli)
        .then(|| json!(f64::from(milli) / 1000.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::files::root_with;

    #[test]
    fn sensors_of_an_orin_board_are_read() {
        let (_directory, root) = root_with(&[
            ("/sys/class/thermal/thermal_zone0/type", "cpu-thermal\n"),
            ("/sys/class/thermal/thermal_zone0/temp", "47500\n"),
            ("/sys/class/thermal/thermal_zone1/type", "gpu-thermal\n"),
            ("/sys/class/thermal/thermal_zone1/temp", "-256000\n"),
            ("/sys/class/thermal/cooling_device0/type", "pwm-fan\n"),
            ("/sys/class/thermal/cooling_device0/cur_state", "3\n"),
            ("/sys/class/thermal/cooling_device1/type", "cpufreq-cpu0\n"),
            ("/sys/class/thermal/cooling_device1/cur_state", "0\n"),
            (
                "/sys/class/thermal/cooling_device2/type",
                "gpu-throttle-alert\n",
            ),
            ("/sys/class/thermal/cooling_device2/cur_state", "1\n"),
            ("/sys/class/hwmon/hwmon0/name", "nvme\n"),
            ("/sys/class/hwmon/hwmon0/temp1_input", "38850\n"),
            ("/sys/class/hwmon/hwmon1/name", "soctherm_oc\n"),
            ("/sys/class/hwmon/hwmon1/oc1_event_cnt", "2\n"),
            ("/sys/class/hwmon/hwmon1/oc3_event_cnt", "5\n"),
        ]);
        let expected = json!({ "cpu-thermal": 47.5, "nvme": 38.85 });
        assert_eq!(temperatures(&root).unwrap(), expected);
        assert_eq!(throttling(&root).unwrap(), json!(["gpu-throttle-alert"]));
        assert_eq!(over_current(&root).unwrap(), 7);
    }

    #[test]
    fn boards_without_zones_or_sensors_are_supported() {
        let (_directory, root) = root_with(&[
            ("/sys/class/hwmon/hwmon0/name", "coretemp\n"),
            ("/sys/class/hwmon/hwmon0/temp1_input", "51000\n"),
            ("/sys/class/thermal/cooling_device0/type", "Processor\n"),
            ("/sys/class/thermal/cooling_device0/cur_state", "0\n"),
        ]);
        assert_eq!(temperatures(&root).unwrap(), json!({ "coretemp": 51.0 }));
        assert_eq!(throttling(&root).unwrap(), json!([]));
        let (_directory, root) = root_with(&[("/sys/class/thermal/thermal_zone0/type", "x")]);
        assert_eq!((temperatures(&root), throttling(&root)), (None, None));
        assert_eq!(over_current(&root), None);
    }
}
