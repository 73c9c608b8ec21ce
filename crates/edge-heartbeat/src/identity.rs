//! Device identity on disk, MQTT connections with it, and detection of its renewal.

use std::path::PathBuf;

use anyhow::Result;
use edge_common::Root;
use edge_common::exit::{Failure, denied};
use edge_common::identity::{CERTIFICATE, CONFIG, DeviceConfig, KEY};
use edge_common::mqtt::{CaBundle, Options, PORT};
use serde_json::json;

use crate::link::{self, Link};
use crate::stamp::Stamp;
use crate::timing::Timing;
use crate::{jobs, shadow};

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

    pub(crate) fn connect(&self, timing: &Timing) -> Result<Link> {
        let thing = &self.config.thing_name;
        let topic = link::will_topic(thing);
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
        let filters = [&shadow::FILTERS[..], &jobs::FILTERS].concat();
        Link::connect(&options, &filters)
    }
}

/// Version of the identity on disk. A renewal replaces the files without a notification, so
/// the version is compared regularly.
pub(crate) fn version(root: &Root) -> Stamp<3> {
    Stamp::of(root, [CONFIG, CERTIFICATE, KEY])
}
