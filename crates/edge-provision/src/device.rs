//! Serial number and hardware address of this device, and the thing name that is
//! derived from the serial number.

use std::fs;

use anyhow::{Result, bail};
use edge_common::{Root, file, identity};

/// Files with the serial number, in order of preference: that of the board, else
/// systemd's machine ID.
const SOURCES: [&str; 2] = ["/proc/device-tree/serial-number", "/etc/machine-id"];
/// Size limit of the file with the serial number, in bytes.
const MAX_SERIAL_BYTES: u64 = 256;

/// Attributes of the device that are sent to AWS IoT at the registration.
pub(crate) struct Device {
    /// Serial number of the board, or the machine ID.
    pub serial: String,
    /// Name of the device in AWS IoT, `edge-ai-<serial>`.
    pub thing_name: String,
    /// Hardware address of the first network interface by name, empty if there is none.
    pub mac: String,
}

impl Device {
    /// Reads the serial number and checks that AWS accepts the resulting thing name.
    pub(crate) fn read(root: &Root) -> Result<Self> {
        let source = SOURCES.iter().find(|s| root.path(s).exists());
        let Some(source) = source else {
            bail!(
                "no serial number: neither {} nor {} exists",
                SOURCES[0],
                SOURCES[1]
            );
        };
        let text = file::read_text(&root.path(source), MAX_SERIAL_BYTES)?;
        // Strings in the device tree end with a zero byte.
        let serial = text.trim_matches(['\0', '\n', ' ']).to_string();
        let thing_name = format!("edge-ai-{serial}");
        if serial.is_empty() || !identity::valid_thing_name(&thing_name) {
            bail!("{source} has no serial number of the form [a-zA-Z0-9:_-]{{1,120}}");
        }
        Ok(Self {
            serial,
            thing_name,
            mac: mac(root),
        })
    }
}

/// Returns the hardware address of the first network interface in the order of names,
/// because the order of detection changes from boot to boot.
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
    // Interfaces without an Ethernet address, such as mobile modems, have an empty or a
    // longer one.
    let ethernet = |a: &str| a.len() == 17 && a.chars().all(|c| c.is_ascii_hexdigit() || c == ':');
    let first = addresses
        .iter()
        .map(|(_, a)| a.trim())
        .find(|a| ethernet(a));
    first.unwrap_or_default().to_string()
}
