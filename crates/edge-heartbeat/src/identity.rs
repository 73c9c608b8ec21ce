//! Identity of the device as it is on disk now, and connections with it.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use edge_common::Root;
use edge_common::exit::Failure;
use edge_common::identity::{CERTIFICATE, CONFIG, DeviceConfig, KEY};
use edge_common::mqtt::{CaBundle, Options, PORT};
use serde_json::json;

use crate::exit_code::NO_IDENTITY;
use crate::shadow::{self, Shadow};

/// Identity of the device.
pub(crate) struct Identity {
    config: DeviceConfig,
    ca_bundle: CaBundle,
    certificate: PathBuf,
    key: PathBuf,
}

impl Identity {
    pub(crate) fn load(root: &Root) -> Result<Self> {
        let config = DeviceConfig::load(root).map_err(|e| Failure::wrap(NO_IDENTITY, e))?;
        let ca_bundle = CaBundle::load(root)?;
        Ok(Self {
            config,
            ca_bundle,
            certificate: root.path(CERTIFICATE),
            key: root.path(KEY),
        })
    }

    pub(crate) fn connect(&self, timeout: Duration) -> Result<Shadow> {
        let thing = &self.config.thing_name;
        let topic = shadow::will_topic(thing);
        let will = json!({ "thing": thing, "state": "offline" }).to_string();
        Shadow::connect(&Options {
            endpoint: &self.config.endpoint,
            port: self.config.port.unwrap_or(PORT),
            proxy: self.config.proxy.as_deref(),
            // The policy of AWS admits the thing's name only, and a second connection
            // with it ends the first: so this program is the one owner of the device's
            // session, and others leave files for it to report.
            client_id: thing,
            certificate: self.certificate.clone(),
            key: self.key.clone(),
            ca_bundle: &self.ca_bundle,
            timeout,
            will: Some((&topic, will.into_bytes())),
        })
    }
}

/// Version of the identity on disk, by inode and time of each file. A renewal replaces
/// the files without a notification.
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
