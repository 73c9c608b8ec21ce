//! Devices with the real sshd and sudo rule, and a stand-in behind them: for
//! what a laptop does with many, and for the words that arrive.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use edge_common::file;
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use super::{Device, Settings};
use crate::process::going_on;

/// Names, and the devices.
pub struct Fleet {
    devices: Vec<(String, Device)>,
    directory: TempDir,
}

impl Fleet {
    /// Starts `count` of them: `d00`, `d01`, …
    ///
    /// # Errors
    /// As [`Device::start`].
    pub fn start(count: usize, edge_sim: &Path) -> Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix("edge-fleet-")
            .tempdir()
            .context("making a directory")?;
        let script = directory.path().join("edge-docker");
        file::write(&script, include_bytes!("edge_docker.sh"), 0o755)?;
        let mut fleet = Self {
            devices: Vec::new(),
            directory,
        };
        for number in 0..count {
            going_on()?;
            let name = format!("d{number:02}");
            let place = fleet.directory.path().join(&name);
            file::create_directory(&place, 0o755)?;
            let settings = Settings {
                name: &name,
                edge_docker: &script,
                edge_sim,
                engine: false,
                ..Settings::default()
            };
            let device = Device::start(&place, &settings)?;
            // Whoever runs there writes what it was told.
            fs::set_permissions(device.path("/data"), fs::Permissions::from_mode(0o755))?;
            fleet.devices.push((name, device));
        }
        Ok(fleet)
    }

    /// Their names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.devices.iter().map(|(name, _)| name.as_str())
    }

    /// A path of the device with this number, seen from outside.
    pub fn path(&self, number: usize, path: &str) -> PathBuf {
        self.devices[number].1.path(path)
    }

    /// Where ssh is told how to get to the device with this number.
    pub fn ssh_config(&self, number: usize) -> PathBuf {
        self.devices[number].1.ssh_config()
    }

    /// `devices` of an `edge-app.yaml`.
    pub fn config(&self) -> Value {
        let each = self.devices.iter().map(|(name, device)| {
            let config = json!({ "ssh_config": device.ssh_config() });
            (name.clone(), config)
        });
        Value::Object(each.collect::<Map<_, _>>())
    }

    /// The most pulls and switches that were under way at the same time, by the
    /// devices' own clocks, which are this machine's.
    ///
    /// # Errors
    /// A record that cannot be read.
    pub fn most_at_once(&self) -> Result<usize> {
        let mut events = Vec::new();
        for (name, device) in &self.devices {
            let path = device.path("/data/times");
            if !path.exists() {
                continue;
            }
            for line in file::read_text(&path, 1 << 20)?.lines() {
                let (what, time) = line.split_once(' ').context("a record without a time")?;
                let time: u64 = time.parse().with_context(|| format!("a time of {name}"))?;
                events.push((time, what == "begin"));
            }
        }
        events.sort_unstable();
        let (mut now, mut most) = (0_usize, 0);
        for (_, begins) in events {
            now = if begins {
                now + 1
            } else {
                now.saturating_sub(1)
            };
            most = most.max(now);
        }
        Ok(most)
    }

    /// Forgets what was recorded.
    ///
    /// # Errors
    /// A record that cannot be removed.
    pub fn forget(&self) -> Result<()> {
        for (_, device) in &self.devices {
            for name in ["times", "pull", "replace", "password"] {
                match fs::remove_file(device.path("/data").join(name)) {
                    Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e.into()),
                    _ => {}
                }
            }
        }
        Ok(())
    }
}
