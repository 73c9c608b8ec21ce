//! Device identity on disk, MQTT connections with it, and detection of its renewal.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use anyhow::Result;
use edge_common::Root;
use edge_common::exit::{Failure, denied};
use edge_common::identity::{CERTIFICATE, CONFIG, DeviceConfig, KEY};
use edge_common::mqtt::{CaBundle, Options, PORT};
use serde_json::json;

use crate::shadow::{self, Shadow};
use crate::timing::Timing;

/// Exit code for a configuration of the device identity that is missing or invalid, as
/// listed by `--help`.
pub(crate) const NO_IDENTITY: u8 = 3;

/// Credentials with which edge-heartbeat connects to AWS IoT: device configuration, CA
/// bundle, certificate and key.
pub(crate) struct Identity {
    config: DeviceConfig,
    ca_bundle: CaBundle,
    certificate: PathBuf,
    key: PathBuf,
}

impl Identity {
    pub(crate) fn load(root: &Root) -> Result<Self> {
        let config = DeviceConfig::load(root).map_err(|e| Failure::wrap(NO_IDENTITY, denied(e)))?;
        let ca_bundle = CaBundle::load(root)?;
        Ok(Self {
            config,
            ca_bundle,
            certificate: root.path(CERTIFICATE),
            key: root.path(KEY),
        })
    }

    pub(crate) fn connect(&self, timing: &Timing) -> Result<Shadow> {
        let thing = &self.config.thing_name;
        let topic = shadow::will_topic(thing);
        let will = json!({ "thing": thing, "state": "offline" }).to_string();
        let options = Options {
            endpoint: &self.config.endpoint,
            port: self.config.port.unwrap_or(PORT),
            proxy: self.config.proxy.as_deref(),
            // The AWS IoT policy of the device permits only the thing name as client
            // ID, and a second connection with the same ID closes the first. So
            // edge-heartbeat has the only session of the device, and other tools leave
            // files that it reports.
            client_id: thing,
            certificate: self.certificate.clone(),
            key: self.key.clone(),
            ca_bundle: &self.ca_bundle,
            timeout: timing.step,
            will: Some((&topic, will.into_bytes())),
        };
        Shadow::connect(&options, timing.rejected)
    }
}

/// Version of the identity on disk: inode and modification time of each file. A renewal
/// replaces the files without a notification, so the version is compared regularly.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Version([Option<(u64, i64, i64)>; 3]);

impl Version {
    pub(crate) fn of(root: &Root) -> Self {
        Self([CONFIG, CERTIFICATE, KEY].map(|name| {
            let data = std::fs::metadata(root.path(name)).ok()?;
            Some((data.ino(), data.mtime(), data.mtime_nsec()))
        }))
    }
}
