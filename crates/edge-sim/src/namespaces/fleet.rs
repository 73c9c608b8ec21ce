//! Fleet of devices with the real sshd and sudo rule but a scripted edge-docker,
//! for tests of deployments to many devices and of the arguments that edge-docker
//! receives.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use anyhow::{Context, Result};
use edge_common::file;
use serde_json::{Map, Value, json};
use tempfile::TempDir;

use super::{Device, Settings};
use crate::signals;

/// Running devices with their names, and the temporary directory that contains
/// their files.
pub struct Fleet {
    devices: Vec<(String, Device)>,
    directory: TempDir,
}

impl Fleet {
    /// Starts `count` devices with the names `d00`, `d01`, …
    ///
    /// # Errors
    /// As [`Device::start`].
    pub fn start(count: usize) -> Result<Self> {
        let directory = tempfile::Builder::new()
            .prefix("edge-fleet-")
            .tempdir()
            .context("creating a temporary directory")?;
        let script = directory.path().join("edge-docker");
        file::write(&script, include_bytes!("edge_docker.sh"), 0o755)?;
        let mut fleet = Self {
            devices: Vec::new(),
            directory,
        };
        for number in 0..count {
            signals::check()?;
            let name = format!("d{number:02}");
            let path = fleet.directory.path().join(&name);
            file::create_directory(&path, 0o755)?;
            let settings = Settings {
                name: &name,
                edge_docker: Some(&script),
                engine: false,
                ..Settings::default()
            };
            let device = Device::start(&path, &settings)?;
            // Tests must be able to read the records that the scripted edge-docker
            // writes to /data.
            fs::set_permissions(device.path("/data"), fs::Permissions::from_mode(0o755))?;
            fleet.devices.push((name, device));
        }
        Ok(fleet)
    }

    /// Returns the names of the devices in the order of their numbers.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.devices.iter().map(|(name, _)| name.as_str())
    }

    /// Returns the path on this machine of `path` on the device with this number.
    pub fn path(&self, number: usize, path: &str) -> PathBuf {
        self.devices[number].1.path(path)
    }

    /// Returns the path of the ssh configuration for the device with this number.
    pub fn ssh_config(&self, number: usize) -> PathBuf {
        self.devices[number].1.ssh_config()
    }

    /// Returns the value of `devices` in an `edge-app.yaml` for all devices.
    pub fn config(&self) -> Value {
        let each = self.devices.iter().map(|(name, device)| {
            let config = json!({ "ssh_config": device.ssh_config() });
            (name.clone(), config)
        });
        Value::Object(each.collect::<Map<_, _>>())
    }

    /// Returns the maximum number of deployments that ran at the same time, by the
    /// records of the devices, whose clock is that of this machine.
    ///
    /// # Errors
    /// If a record cannot be read.
    pub fn max_concurrent(&self) -> Result<usize> {
        let mut events = Vec::new();
        for (name, device) in &self.devices {
            let path = device.path("/data/times");
            if !path.exists() {
                continue;
            }
            for line in file::read_text(&path, 1 << 20)?.lines() {
                let (event, time) = line.split_once(' ').context("a record without a time")?;
                let time: u64 = time.parse().with_context(|| format!("a time of {name}"))?;
                events.push((time, event == "begin"));
            }
        }
        events.sort_unstable();
        let (mut now, mut max) = (0_usize, 0);
        for (_, begins) in events {
            now = if begins {
                now + 1
            } else {
                now.saturating_sub(1)
            };
            max = max.max(now);
        }
        Ok(max)
    }

    /// Removes the records of earlier deployments from all devices.
    ///
    /// # Errors
    /// If a record cannot be removed.
    pub fn clear_records(&self) -> Result<()> {
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
