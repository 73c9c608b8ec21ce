//! Check for a way to NordVPN's servers before a request that counts: the client answers an
//! unplugged cable and a full account alike.

use std::fs::File;
use std::io::Read;

use anyhow::Result;
use edge_common::Root;

use crate::cause::Cause;

/// Routing table of IPv4: destination and mask are the second and the eighth field.
const IPV4: &str = "/proc/net/route";
/// Routing table of IPv6: destination and prefix length are the first two fields, and the
/// interface the last.
const IPV6: &str = "/proc/net/ipv6_route";
/// Size limit of a routing table that is read, in bytes.
const MAX_TABLE_BYTES: u64 = 256 * 1024;

/// Returns an error if the device certainly has no default route.
pub(super) fn check_route(root: &Root) -> Result<()> {
    let (Some(ipv4), Some(ipv6)) = (table(root, IPV4), table(root, IPV6)) else {
        return Ok(());
    };
    if has_default_ipv4(&ipv4) || has_default_ipv6(&ipv6) {
        return Ok(());
    }
    Err(Cause::Network.error("no network: the device has no default route"))
}

fn table(root: &Root, path: &str) -> Option<String> {
    let mut text = String::new();
    let table = File::open(root.path(path)).ok()?.take(MAX_TABLE_BYTES);
    // Files in /proc report a size of 0, so the content is read until its end.
    { table }.read_to_string(&mut text).ok()?;
    Some(text)
}

fn has_default_ipv4(table: &str) -> bool {
    let is_default = |line: &str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        fields.get(1) == Some(&"00000000") && fields.get(7) == Some(&"00000000")
    };
    table.lines().skip(1).any(is_default)
}

fn has_default_ipv6(table: &str) -> bool {
    let is_default = |line: &str| {
        let fields: Vec<_> = line.split_whitespace().collect();
        let any = fields
            .first()
            .is_some_and(|to| to.chars().all(|c| c == '0'));
        // The kernel lists a rejecting default route of the loopback at all times.
        any && fields.get(1) == Some(&"00") && fields.last() != Some(&"lo")
    };
    table.lines().any(is_default)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_routes_are_found() {
        let head =
            "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n";
        let local =
            format!("{head}docker0\t000011AC\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n");
        let default =
            format!("{local}eth0\t00000000\t010011AC\t0003\t0\t0\t0\t00000000\t0\t0\t0\n");
        assert!(!has_default_ipv4("") && !has_default_ipv4(head) && !has_default_ipv4(&local));
        assert!(has_default_ipv4(&default));
        let zero = "0".repeat(32);
        let line = |prefix: &str, interface: &str| {
            format!(
                "{zero} {prefix} {zero} 00 {zero} ffffffff 00000001 00000000 00200200 {interface}\n"
            )
        };
        assert!(
            !has_default_ipv6(&line("00", "      lo")) && !has_default_ipv6(&line("40", "eth0"))
        );
        assert!(has_default_ipv6(&line("00", "    eth0")) && !has_default_ipv6("x\n\n"));
    }
}
