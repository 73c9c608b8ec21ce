//! Parser for the output of `nordvpn meshnet peer list`: sections with lines of the
//! form `Label: value`.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context, Result, ensure};

use crate::net::{self, Range};

/// Address range of Meshnet, 100.64.0.0/10.
pub(super) const RANGE: Range = Range {
    address: IpAddr::V4(Ipv4Addr::new(100, 64, 0, 0)),
    prefix: 10,
};

/// Entry of a device in the list: values by label.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Device(BTreeMap<String, String>);

/// Devices in Meshnet, from the list of the client.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct List {
    /// Entry of the section "This device".
    pub own: Device,
    /// Entries of the sections "Local Peers" and "External Peers".
    pub others: Vec<Device>,
}

impl Device {
    /// Returns the value of a label, or `None` if it is absent or `-`.
    pub(crate) fn get(&self, label: &str) -> Option<&str> {
        let value = self.0.get(label).map(String::as_str);
        value.filter(|v| !v.is_empty() && *v != "-")
    }

    /// Returns whether `name` is the host name, nickname, address or public key of the
    /// device.
    pub(super) fn has_name(&self, name: &str) -> bool {
        ["Hostname", "Nickname", "IP", "Public Key"]
            .iter()
            .any(|label| {
                let own = self.get(label);
                own.is_some_and(|o| o == name || o.strip_suffix(".nord").unwrap_or(o) == name)
            })
    }

    /// Returns the host name of the device in Meshnet, after validation.
    pub(super) fn hostname(&self) -> Result<&str> {
        let name = self
            .get("Hostname")
            .context("this device has no Hostname")?;
        // The host name becomes an argument of commands and a line of a file.
        ensure!(
            net::valid_name(name),
            "Hostname is not a host name: {name:?}"
        );
        Ok(name)
    }

    /// Returns the address of the device, which must be in [`RANGE`].
    pub(crate) fn address(&self) -> Result<IpAddr> {
        let text = self.get("IP").context("this device has no IP")?;
        let address = text.parse().ok().filter(|a| RANGE.contains_address(*a));
        address.with_context(|| format!("IP is not an address of Meshnet: {text:?}"))
    }
}

/// Parses the list. Lines before the first section are notices and skipped. Labels may
/// have any order, because the first two are swapped once a nickname is set. A
/// truncated list is an error.
pub(super) fn parse(text: &str) -> Result<List> {
    let (mut own, mut others) = (None, Vec::new());
    let mut section = Section::Before;
    let mut device = Device::default();
    // The additional empty line ends the last device.
    for line in text.lines().map(strip_terminal).chain([String::new()]) {
        let line = line.trim();
        let next = match line {
            "This device:" => Some(Section::Own),
            "Local Peers:" | "External Peers:" => Some(Section::Others),
            _ => None,
        };
        if next.is_some() || line.is_empty() {
            match section {
                _ if device.0.is_empty() => {}
                Section::Own if own.is_none() => own = Some(std::mem::take(&mut device)),
                Section::Others => others.push(std::mem::take(&mut device)),
                _ => device = Device::default(),
            }
            section = next.unwrap_or(section);
        } else if section == Section::Before {
            // Skip notices before the first section.
        } else if let Some((label, value)) = line.split_once(':') {
            let entry = device.0.entry(label.trim().into());
            entry.or_insert_with(|| value.trim().into());
        }
    }
    let own = own.context("the list has no section \"This device\"")?;
    ensure!(section == Section::Others, "the list is truncated");
    own.hostname()?;
    own.address()?;
    Ok(List { own, others })
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Section {
    Before,
    Own,
    Others,
}

/// Removes terminal control sequences, such as colours and the progress indicator, from
/// a line.
fn strip_terminal(line: &str) -> String {
    let mut out = String::new();
    let mut chars = line
        .rsplit('\r')
        .find(|p| !p.is_empty())
        .unwrap_or("")
        .chars();
    while let Some(c) = chars.next() {
        if c == '\u{1b}' {
            let _ = chars.find(char::is_ascii_alphabetic);
        } else if !c.is_control() {
            out.push(c);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const OWN: &str = "This device:\nHostname: me-alps.nord\nNickname: -\nIP: 100.64.0.15\n\
        Public Key: k\nOS: linux\nDistribution: Debian\n\n";
    const SWAPPED: &str =
        "This device:\nNickname: edge-ai-1\nHostname: me-alps.nord\nIP: 100.64.0.15\n\n";
    const OTHERS: &str = "Local Peers:\nNickname: laptop\nHostname: me-andes.nord\nStatus: connected\n\
        IP: 100.64.0.6\nAllow Incoming Traffic: enabled\n\nHostname: me-ural.nord\nNickname: -\n\
        IP: 100.64.0.7\n\nExternal Peers:\n[no peers]\n";

    #[test]
    fn labels_are_read_within_their_section() {
        for (own, nickname) in [(OWN, None), (SWAPPED, Some("edge-ai-1"))] {
            for notice in [
                "",
                "A new version of NordVPN is available!\nPlease update the app.\n\n",
                "Hostname: evil.nord\nIP: 100.64.9.9\n",
            ] {
                let list = parse(&format!("{notice}{own}{OTHERS}")).unwrap();
                assert_eq!(list.own.hostname().unwrap(), "me-alps.nord");
                assert_eq!(list.own.get("Nickname"), nickname);
                assert_eq!(list.others.len(), 2);
                assert!(
                    list.others[0].has_name("laptop") && list.others[0].has_name("me-andes.nord")
                );
                assert!(list.others[1].has_name("me-ural") && !list.others[1].has_name("laptop"));
            }
        }
    }

    #[test]
    fn colours_are_ignored() {
        let text = "\r-\r\\\r \r\u{1b}[1mThis device:\u{1b}[0m\n\u{1b}[32;1mHostname:\u{1b}[0m a.nord\nIP: 100.127.0.1\n\nLocal Peers:\n";
        assert_eq!(parse(text).unwrap().own.hostname().unwrap(), "a.nord");
    }

    #[test]
    fn truncated_and_hostile_lists_are_errors() {
        for invalid in [
            "",
            "This device:\n",
            "This device:\nHostname: a.nord\n",
            "This device:\nIP: 100.64.0.1\n",
            "This device:\nHostname: a.nord\nIP: 10.0.0.1\n\nLocal Peers:\n",
            "This device:\nHostname: a.nord\nIP: 100.64.0.1\n",
            "This device:\nHostname: a.nord\nIP: x\n",
            "This device:\nHostname: -oProxyCommand=x\nIP: 100.64.0.1\n",
            "Local Peers:\nHostname: a.nord\nIP: 100.64.0.1\n",
            "[no peers]\n",
            "This device:\nHostname: a b\nIP: 100.64.0.1\n",
        ] {
            assert!(parse(invalid).is_err(), "{invalid:?}");
        }
    }

    #[test]
    fn any_part_of_a_valid_list_is_an_error_or_correct() {
        let whole = format!("{OWN}{OTHERS}");
        for end in 0..whole.len() {
            if let Ok(list) = parse(&whole[..end]) {
                let address = list.own.address().unwrap().to_string();
                assert_eq!(
                    (list.own.hostname().unwrap(), address.as_str()),
                    ("me-alps.nord", "100.64.0.15")
                );
            }
        }
    }
}
