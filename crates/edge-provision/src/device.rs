//! Who this device is.

use std::fs;

use anyhow::{Result, bail};
use edge_common::{Root, file, identity};

/// Sources of the serial number: the board's, else systemd's machine id.
const SERIALS: [&str; 2] = ["/proc/device-tree/serial-number", "/etc/machine-id"];
/// A serial number of more bytes than this is not one.
const LARGEST: u64 = 256;

/// Serial number and what follows from it.
pub struct Identity {
    /// Serial number.
    pub serial: String,
    /// `edge-ai-<serial>`.
    pub name: String,
    /// Hardware address of the first network interface, or empty.
    pub mac: String,
}

/// Reads the serial number.
///
/// # Errors
/// None is there, or it does not fit into the name of a thing.
pub fn identity(root: &Root) -> Result<Identity> {
    let found = SERIALS.iter().find(|s| root.path(s).exists());
    let Some(source) = found else {
        bail!(
            "no serial number: neither {} nor {}",
            SERIALS[0],
            SERIALS[1]
        );
    };
    let text = file::read_text(&root.path(source), LARGEST)?;
    let serial = text.trim_matches(['\0', '\n', ' ']).to_string();
    let name = format!("edge-ai-{serial}");
    if serial.is_empty() || !identity::valid_thing_name(&name) {
        bail!("{source} does not hold a serial number of the form [a-zA-Z0-9:_-]{{1,120}}");
    }
    Ok(Identity {
        serial,
        name,
        mac: mac(root),
    })
}

fn mac(root: &Root) -> String {
    let Ok(entries) = fs::read_dir(root.path("/sys/class/net")) else {
        return String::new();
    };
    let mut addresses: Vec<_> = entries
        .flatten()
        .filter(|e| e.file_name() != "lo")
        .filter_map(|e| {
            Some((
                e.file_name(),
                fs::read_to_string(e.path().join("address")).ok()?,
            ))
        })
        .collect();
    addresses.sort();
    let good = |a: &str| a.len() == 17 && a.chars().all(|c| c.is_ascii_hexdigit() || c == ':');
    let first = addresses.iter().map(|(_, a)| a.trim()).find(|a| good(a));
    first.unwrap_or_default().to_string()
}
