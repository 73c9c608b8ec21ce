//! What `nordvpn meshnet peer list` prints: sections with lines `Label: value`.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};

use anyhow::{Context, Result, ensure};

use crate::net::{self, Range};

/// All addresses of Meshnet.
pub const RANGE: Range = Range {
    address: IpAddr::V4(Ipv4Addr::new(100, 64, 0, 0)),
    prefix: 10,
};

/// One device, as it is printed.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Device(BTreeMap<String, String>);

/// The list.
#[derive(Debug, PartialEq, Eq)]
pub struct List {
    /// This device.
    pub own: Device,
    /// All others.
    pub others: Vec<Device>,
}

impl Device {
    /// The value behind a label; `-` is none.
    pub fn get(&self, label: &str) -> Option<&str> {
        let value = self.0.get(label).map(String::as_str);
        value.filter(|v| !v.is_empty() && *v != "-")
    }

    /// Is it called so, by whichever of its names?
    pub fn is(&self, name: &str) -> bool {
        ["Hostname", "Nickname", "IP", "Public Key"]
            .iter()
            .any(|label| {
                let own = self.get(label);
                own.is_some_and(|o| o == name || o.strip_suffix(".nord").unwrap_or(o) == name)
            })
    }

    /// Its name in Meshnet.
    ///
    /// # Errors
    /// There is none, or it is no name.
    pub fn hostname(&self) -> Result<&str> {
        let name = self
            .get("Hostname")
            .context("this device has no Hostname")?;
        ensure!(net::valid_name(name), "Hostname is no name: {name:?}");
        Ok(name)
    }

    /// Its address in Meshnet.
    ///
    /// # Errors
    /// There is none, or it is not one of Meshnet's.
    pub fn address(&self) -> Result<IpAddr> {
        let text = self.get("IP").context("this device has no IP")?;
        let address = text.parse().ok().filter(|a| RANGE.has(*a));
        address.with_context(|| format!("IP is no address of Meshnet: {text:?}"))
    }
}

/// Reads the list. Lines before the first section are notices; labels may come
/// in any order.
///
/// # Errors
/// There is no section of this device, or no other follows: it is cut off.
pub fn parse(text: &str) -> Result<List> {
    let (mut own, mut others) = (None, Vec::new());
    let mut section = Section::Before;
    let mut device = Device::default();
    // An empty line ends the last device.
    for line in text.lines().map(plain).chain([String::new()]) {
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
            // A notice.
        } else if let Some((label, value)) = line.split_once(':') {
            let entry = device.0.entry(label.trim().into());
            entry.or_insert_with(|| value.trim().into());
        }
    }
    let own = own.context("the list has no section \"This device\"")?;
    ensure!(section == Section::Others, "the list is cut off");
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

/// Without the colours and the turning bar that a terminal would get.
fn plain(line: &str) -> String {
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
    fn labels_are_read_by_name_inside_their_section() {
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
                assert!(list.others[0].is("laptop") && list.others[0].is("me-andes.nord"));
                assert!(list.others[1].is("me-ural") && !list.others[1].is("laptop"));
            }
        }
    }

    #[test]
    fn colours_do_not_count() {
        let text = "\r-\r\\\r \r\u{1b}[1mThis device:\u{1b}[0m\n\u{1b}[32;1mHostname:\u{1b}[0m a.nord\nIP: 100.127.0.1\n\nLocal Peers:\n";
        assert_eq!(parse(text).unwrap().own.hostname().unwrap(), "a.nord");
    }

    #[test]
    fn what_is_cut_off_or_hostile_is_an_error() {
        for bad in [
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
            assert!(parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn any_cut_of_a_good_list_is_an_error_or_right() {
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
