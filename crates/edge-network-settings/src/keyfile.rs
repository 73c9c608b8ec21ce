//! Keyfiles of NetworkManager, nm-settings-keyfile(5).

use std::fmt::Write as _;

use crate::types::{Interface, Ip, Kind, Method, Security, Wifi};

/// Beginning of the names of keyfiles that edge-docker writes and removes.
pub const PREFIX: &str = "edge-";
/// End of the names of keyfiles.
pub const SUFFIX: &str = ".nmconnection";
/// Time in milliseconds in which another host can claim an address that is to be the
/// device's.
const DUPLICATE_ADDRESS_MS: u32 = 3000;
/// Above the priority of a connection that NetworkManager creates, or of one of the image.
const PRIORITY: u32 = 100;

/// Returns name and content of the keyfile of an interface.
pub(crate) fn of(interface: &Interface) -> (String, String) {
    let name = &interface.name;
    let kind = match interface.kind {
        Kind::Wired => "ethernet",
        Kind::Wifi => "wifi",
    };
    // Retried for ever: nobody is there to start a connection by hand.
    let mut text = format!(
        "[connection]\nid={PREFIX}{name}\ntype={kind}\ninterface-name={name}\n\
         autoconnect-priority={PRIORITY}\nautoconnect-retries=0\n\n[{kind}]\n"
    );
    if let Some(mtu) = interface.mtu {
        let _ = writeln!(text, "mtu={mtu}");
    }
    if let Some(wifi) = &interface.wifi {
        wireless(&mut text, wifi);
    }
    ip(&mut text, "ipv4", &interface.ipv4);
    ip(&mut text, "ipv6", &interface.ipv6);
    (format!("{PREFIX}{name}{SUFFIX}"), text)
}

fn wireless(text: &mut String, wifi: &Wifi) {
    // As bytes: no character of the name has a meaning in the file.
    let ssid: String = wifi.ssid.bytes().map(|b| format!("{b};")).collect();
    let _ = writeln!(text, "mode=infrastructure\nssid={ssid}");
    let management = match wifi.security {
        Security::WpaPsk => "wpa-psk",
        Security::Sae => "sae",
        Security::Open => return,
    };
    let password = escape(wifi.password.as_deref().unwrap_or_default());
    let _ = writeln!(
        text,
        "\n[wifi-security]\nkey-mgmt={management}\npsk={password}"
    );
}

fn ip(text: &mut String, section: &str, ip: &Ip) {
    let method = match ip.method {
        Method::Auto => "auto",
        Method::Manual => "manual",
        Method::LinkLocal => "link-local",
        Method::Disabled => "disabled",
    };
    let _ = writeln!(text, "\n[{section}]\nmethod={method}");
    for (number, address) in ip.addresses.iter().enumerate() {
        let _ = writeln!(text, "address{}={address}", number + 1);
    }
    if let Some(gateway) = ip.gateway {
        let _ = writeln!(text, "gateway={gateway}");
    }
    if !ip.dns.is_empty() {
        let servers: String = ip.dns.iter().map(|server| format!("{server};")).collect();
        let _ = writeln!(text, "dns={servers}");
    }
    for (number, route) in ip.routes.iter().enumerate() {
        let _ = writeln!(text, "route{}={},{}", number + 1, route.to, route.via);
    }
    if section == "ipv4" && ip.method == Method::Manual {
        let _ = writeln!(text, "dad-timeout={DUPLICATE_ADDRESS_MS}");
    }
}

/// Returns a value as GLib's keyfiles write it: printable ASCII alone is possible here.
fn escape(value: &str) -> String {
    let mut escaped = String::new();
    for c in value.chars() {
        match c {
            '\\' => escaped += "\\\\",
            // At the beginning GLib would drop it.
            ' ' => escaped += "\\s",
            c => escaped.push(c),
        }
    }
    escaped
}
