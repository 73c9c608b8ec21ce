//! Serial number and hardware address of this device, and the thing name that is
//! derived from the serial number.

use std::fs;

use anyhow::{Result, bail};
use edge_common::{Root, file, identity};

/// File with the serial number of the board.
const BOARD: &str = "/proc/device-tree/serial-number";
/// File with systemd's machine ID, for boards without a serial number.
const MACHINE_ID: &str = "/etc/machine-id";
/// Content of [`MACHINE_ID`] until systemd has written one at the first boot. As a name
/// it would be that of every device.
const UNINITIALIZED: &str = "uninitialized";
/// Value of `addr_assign_type` in sysfs of an address that the hardware has. Others are
/// random and new at each boot, or copied from another interface.
const PERMANENT: &str = "0";
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
        let sources = [BOARD, MACHINE_ID];
        let source = sources.iter().find(|s| root.path(s).exists());
        let Some(source) = source else {
            bail!("no serial number: neither {BOARD} nor {MACHINE_ID} exists");
        };
        let text = file::read_text(&root.path(source), MAX_SERIAL_BYTES)?;
        // Strings in the device tree end with a zero byte.
        let serial = text.trim_matches(['\0', '\n', ' ']).to_string();
        let thing_name = format!("edge-ai-{serial}");
        if serial.is_empty() || !identity::valid_thing_name(&thing_name) {
            bail!("{source} has no serial number of the form [a-zA-Z0-9:_-]{{1,120}}");
        }
        if serial == UNINITIALIZED {
            bail!("{source} is {serial:?}: systemd has not written a machine ID yet");
        }
        Ok(Self {
            serial,
            thing_name,
            mac: mac(root),
        })
    }
}

/// Returns the permanent hardware address of the first network interface in the order of
/// names, because the order of detection changes from boot to boot.
fn mac(root: &Root) -> String {
    let Ok(entries) = fs::read_dir(root.path("/sys/class/net")) else {
        return String::new();
    };
    let mut interfaces: Vec<_> = entries.flatten().map(|e| e.path()).collect();
    interfaces.sort();
    let addresses = interfaces.iter().filter_map(|interface| {
        let value = |name: &str| {
            let text = fs::read_to_string(interface.join(name)).ok()?;
            Some(text.trim().to_string())
        };
        // Interfaces of software, such as docker0, a veth or a VPN, have no device. Their
        // addresses are random.
        let hardware = fs::symlink_metadata(interface.join("device")).is_ok();
        let permanent = value("addr_assign_type").as_deref() == Some(PERMANENT);
        value("address").filter(|_| hardware && permanent)
    });
    // Interfaces without an Ethernet address, such as mobile modems, have an empty or a
    // longer one.
    let ethernet = |a: &String| {
        let digits = a.chars().all(|c| c.is_ascii_hexdigit() || c == ':');
        a.len() == 17 && digits && a != "00:00:00:00:00:00"
    };
    let mut addresses = addresses.filter(ethernet);
    addresses.next().unwrap_or_default()
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "for tests")]
mod tests {
    use super::*;

    fn root(files: &[(&str, &str)]) -> (tempfile::TempDir, Root) {
        let directory = tempfile::tempdir().unwrap();
        let root = Root::at(directory.path());
        for (path, text) in files {
            let path = root.path(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        (directory, root)
    }

    #[test]
    fn a_machine_id_that_is_not_written_yet_is_no_name() {
        for (content, accepted) in [
            ("uninitialized\n", false),
            ("uninitialized", false),
            ("", false),
            ("0123456789abcdef0123456789abcdef\n", true),
        ] {
            let (_directory, root) = root(&[(MACHINE_ID, content)]);
            assert_eq!(Device::read(&root).is_ok(), accepted, "{content:?}");
        }
        let (_directory, root) = root(&[(MACHINE_ID, "uninitialized"), (BOARD, "142\0")]);
        assert_eq!(Device::read(&root).unwrap().thing_name, "edge-ai-142");
    }

    #[test]
    fn only_a_permanent_address_of_hardware_is_reported() {
        let net = |name: &str, file: &str| format!("/sys/class/net/{name}/{file}");
        let interface = |name: &str, address: &str, kind: &str, device: bool| {
            let mut files = vec![
                (net(name, "address"), format!("{address}\n")),
                (net(name, "addr_assign_type"), format!("{kind}\n")),
            ];
            if device {
                files.push((net(name, "device/vendor"), "0x10ec\n".into()));
            }
            files
        };
        let software = [
            interface("br0", "02:42:00:00:00:01", "0", false),
            interface("can0", "", "0", true),
            interface("docker0", "02:42:ac:11:00:02", "3", false),
            interface("dummy0", "00:00:00:00:00:00", "0", true),
            interface("lo", "00:00:00:00:00:00", "0", false),
            interface("usb0", "aa:bb:cc:00:11:22", "1", true),
        ]
        .concat();
        for (hardware, expected) in [
            (vec![], ""),
            (
                interface("eth0", "48:b0:2d:00:00:07", "0", true),
                "48:b0:2d:00:00:07",
            ),
            (
                interface("wlan0", "48:b0:2d:00:00:08", "0", true),
                "48:b0:2d:00:00:08",
            ),
        ] {
            let files = [software.clone(), hardware].concat();
            let files: Vec<_> = files
                .iter()
                .map(|(p, t)| (p.as_str(), t.as_str()))
                .collect();
            let (_directory, root) = root(&files);
            assert_eq!(mac(&root), expected);
        }
    }
}
