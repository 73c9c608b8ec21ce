//! Sample of the device: temperature, memory, disk and load at a time.

use edge_common::hex;
use serde_json::{Map, Value, json};

/// Value of a field that could not be read.
const ABSENT: u32 = u32::MAX;

/// Sample of the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Sample {
    /// Time of the system clock, in seconds of Unix time. It may be wrong.
    pub time: u64,
    /// Time since the boot, in seconds, and part of the boot's ID.
    pub uptime: u32,
    pub boot: u32,
    /// Highest temperature in tenths of a degree, from −100 °C.
    temperature: u32,
    /// Available memory in kilobytes, available space of the data partition in megabytes.
    memory_kb: u32,
    disk_mb: u32,
    /// Load averages of 1, 5 and 15 minutes in hundredths.
    load: [u32; 3],
}

impl Sample {
    /// Size of the stored form, in bytes.
    pub(super) const BYTES: usize = 48;
    /// Lowest temperature, in tenths of a degree.
    const COLDEST: f64 = 1000.0;

    /// Takes a sample from a gathered state.
    pub(super) fn of(state: &Map<String, Value>, time: u64, boot: u32) -> Self {
        let value = |key: &str| state.get(key).unwrap_or(&Value::Null);
        let sensors = value("temperature_celsius").as_object();
        let sensors = sensors
            .into_iter()
            .flatten()
            .filter_map(|(_, v)| v.as_f64());
        let hottest = sensors.fold(f64::NAN, f64::max);
        let load = |n: usize| scaled(value("load")[n].as_f64(), 100.0, 0.0);
        Self {
            time,
            uptime: whole(value("uptime_seconds")),
            boot,
            temperature: scaled(Some(hottest), 10.0, Self::COLDEST),
            memory_kb: whole(&value("memory")["available_kb"]),
            disk_mb: whole(&value("disk")["available_mb"]),
            load: [load(0), load(1), load(2)],
        }
    }

    pub(super) fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[..8].copy_from_slice(&self.time.to_le_bytes());
        for (part, value) in bytes[8..].chunks_exact_mut(4).zip(self.fields()) {
            part.copy_from_slice(&value.to_le_bytes());
        }
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8; Self::BYTES]) -> Self {
        let (time, rest) = bytes.split_at(8);
        let mut fields = [0; 8];
        for (field, part) in fields.iter_mut().zip(rest.chunks_exact(4)) {
            *field = u32::from_le_bytes(part.try_into().unwrap_or_default());
        }
        let [uptime, boot, temperature, memory_kb, disk_mb, a, b, c] = fields;
        Self {
            time: u64::from_le_bytes(time.try_into().unwrap_or_default()),
            uptime,
            boot,
            temperature,
            memory_kb,
            disk_mb,
            load: [a, b, c],
        }
    }

    fn fields(self) -> [u32; 8] {
        let [a, b, c] = self.load;
        [
            self.uptime,
            self.boot,
            self.temperature,
            self.memory_kb,
            self.disk_mb,
            a,
            b,
            c,
        ]
    }

    /// Returns the text of the message about this sample; `is_dated` says whether its time
    /// is known.
    pub(super) fn message(&self, is_dated: bool) -> String {
        let present = |value: u32| (value != ABSENT).then_some(value);
        let temperature = present(self.temperature);
        let temperature = temperature.map(|t| (f64::from(t) - Self::COLDEST) / 10.0);
        let load: Vec<_> = self.load.iter().filter_map(|l| present(*l)).collect();
        let load: Vec<_> = load.into_iter().map(|l| f64::from(l) / 100.0).collect();
        let mut message = json!({
            "boot": hex::encode(self.boot.to_be_bytes()), "uptime": present(self.uptime),
            "temperature": temperature, "memory_kb": present(self.memory_kb),
            "disk_mb": present(self.disk_mb), "load": load,
        });
        if !is_dated {
            message["undated"] = true.into();
        }
        message.to_string()
    }
}

fn whole(value: &Value) -> u32 {
    let number = value.as_u64().and_then(|n| u32::try_from(n).ok());
    number.unwrap_or(ABSENT)
}

fn scaled(value: Option<f64>, factor: f64, offset: f64) -> u32 {
    let scaled = value.map(|v| (v * factor + offset).round());
    scaled
        .filter(|v| (0.0..1e9).contains(v))
        .map_or(ABSENT, |v| v as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_are_stored_and_worded() {
        let state = json!({ "uptime_seconds": 77, "load": [0.1, 2.0, 31.25],
            "temperature_celsius": { "cpu": 47.125, "gpu": -3.0, "bad": "x" },
            "memory": { "available_kb": 400 }, "disk": { "available_mb": 9 } });
        let sample = Sample::of(state.as_object().unwrap(), 1_800_000_000, 0xb007);
        assert_eq!(Sample::from_bytes(&sample.to_bytes()), sample);
        let expected = json!({ "boot": "0000b007", "uptime": 77, "temperature": 47.1,
            "memory_kb": 400, "disk_mb": 9, "load": [0.1, 2.0, 31.25] });
        let message: Value = serde_json::from_str(&sample.message(true)).unwrap();
        assert_eq!(message, expected);
        // What could not be read is null, and no number.
        let state = json!({ "load": [-1.0, 1e300, "x"], "disk": { "available_mb": u64::MAX } });
        let empty = Sample::of(state.as_object().unwrap(), 0, 0);
        let message: Value = serde_json::from_str(&empty.message(false)).unwrap();
        assert_eq!(message["temperature"], Value::Null);
        assert_eq!(
            (&message["disk_mb"], &message["load"]),
            (&Value::Null, &json!([]))
        );
        assert_eq!(message["undated"], true);
        let cold = json!({ "temperature_celsius": { "out": -40.0 } });
        let cold = Sample::of(cold.as_object().unwrap(), 0, 0);
        assert!(
            cold.message(true).contains("-40.0"),
            "{}",
            cold.message(true)
        );
    }
}
