//! Command `status`, which prints the state of the VPN and everything that is missing.
//! The command changes nothing on the device.

use std::net::IpAddr;

use anyhow::{Error, Result};
use edge_common::contract::path::{
    NORDVPN_HOSTNAME, WIREGUARD_ADDRESS, WIREGUARD_HOSTNAME, WIREGUARD_PUBLIC_KEY,
};
use edge_common::exit::denied_access;
use edge_common::policy::SshAccess;
use edge_common::{Root, boot, file, log};
use serde_json::{Map, Value, json};

use crate::cause::Cause;
use crate::config::{Config, Nordvpn, Provider, Wireguard};
use crate::wireguard::{self, FRESH_HANDSHAKE, desired};
use crate::{nordvpn, ssh_probe, sshd};

/// Size limit of a file that contains a single line, in bytes.
const MAX_LINE_FILE_BYTES: u64 = 256;

/// Directory of the state of all tools.
const STATE: &str = "/data/config";

/// Properties of the VPN to print, and an error for everything that is missing.
struct Status {
    facts: Map<String, Value>,
    missing: Vec<Error>,
}

/// Prints the state of the VPN as text or as one JSON object. If something is missing,
/// the first error is returned and so determines the exit code.
pub(crate) fn print(root: &Root, as_json: bool) -> Result<()> {
    let Status { mut facts, missing } = gather(root);
    let messages: Vec<_> = missing.iter().map(|e| format!("{e:#}")).collect();
    facts.insert("ready".into(), missing.is_empty().into());
    if as_json {
        facts.insert("missing".into(), json!(messages));
        println!("{}", Value::Object(facts));
    } else {
        for (name, value) in &facts {
            let text = match value {
                Value::Null => "no".into(),
                Value::String(text) => text.clone(),
                Value::Bool(yes) => if *yes { "yes" } else { "no" }.into(),
                other => other.to_string(),
            };
            println!("{name:<12} {}", log::printable(&text));
        }
        for message in messages.iter().skip(1) {
            log::error(message);
        }
    }
    missing.into_iter().next().map_or(Ok(()), Err)
}

impl Status {
    fn fact(&mut self, name: &str, value: impl Into<Value>) {
        self.facts.insert(name.into(), value.into());
    }

    /// Returns the value of `result`, or adds its error to the list of what is missing.
    fn require<T>(&mut self, result: Result<T>) -> Option<T> {
        result.map_err(|e| self.missing.push(e)).ok()
    }
}

fn gather(root: &Root) -> Status {
    let mut status = Status {
        facts: Map::new(),
        missing: Vec::new(),
    };
    let last = boot::records(root)
        .into_iter()
        .find(|r| r.tool == "edge-vpn");
    let last = last.map(|r| format!("{} at {}", r.result, r.time));
    status.fact("last_run", last);
    if let Some(access) = status.require(sshd::access(root)) {
        let access = if access == SshAccess::Vpn {
            "vpn"
        } else {
            "any"
        };
        status.fact("ssh", access);
    }
    let Some(config) = status.require(Config::load(root)) else {
        return status;
    };
    let is_used = !matches!(config.provider, Provider::None);
    if is_used && status.require(may_read(root)).is_none() {
        return status;
    }
    match config.provider {
        Provider::None => status.fact("provider", "none"),
        Provider::Nordvpn(config) => gather_nordvpn(root, &config, &mut status),
        Provider::Wireguard(config) => gather_wireguard(root, &config, &mut status),
    }
    status
}

/// Fails for a user who may not read the state of the VPN. The programs that are asked for
/// it would call it down.
fn may_read(root: &Root) -> Result<()> {
    denied_access(&root.path(STATE))
}

fn line(root: &Root, path: &str) -> Option<String> {
    let text = file::read_text(&root.path(path), MAX_LINE_FILE_BYTES).ok()?;
    Some(text.trim().to_string())
}

fn gather_nordvpn(root: &Root, config: &Nordvpn, status: &mut Status) {
    status.fact("provider", "nordvpn");
    status.fact("image", config.image.as_str());
    status.fact("hostname", line(root, NORDVPN_HOSTNAME));
    status.require(nordvpn::check_kernel(root));
    let active = nordvpn::is_running(root, config);
    status.fact("container", if active { "started" } else { "down" });
    status.missing.extend(nordvpn::cooldowns(root));
    let Some(own) = status.require(nordvpn::own_device(root, config)) else {
        return;
    };
    status.fact("nickname", own.get("Nickname"));
    if let Some(address) = status.require(own.address()) {
        probe_ssh(status, address);
    }
}

fn gather_wireguard(root: &Root, config: &Wireguard, status: &mut Status) {
    status.fact("provider", "wireguard");
    status.fact("interface", config.interface.as_str());
    status.fact("hostname", line(root, WIREGUARD_HOSTNAME));
    status.fact("address", line(root, WIREGUARD_ADDRESS));
    status.fact("public_key", line(root, WIREGUARD_PUBLIC_KEY));
    let (_, desired) = desired::load(root, config);
    let desired = desired.map_err(|e| Cause::Config.wrap(e));
    if let Some(ages) = status.require(wireguard::handshake_ages(root, config)) {
        let text = |age: &Option<u64>| age.map_or("never".into(), |a| format!("{a} s ago"));
        let peers: Map<_, _> = ages
            .iter()
            .map(|(key, age)| (key.clone(), text(age).into()))
            .collect();
        status.fact("handshakes", peers);
        let fresh = |age: &Option<u64>| age.is_some_and(|a| a <= FRESH_HANDSHAKE);
        if !ages.is_empty() && !ages.iter().any(|(_, age)| fresh(age)) {
            let message = "no handshake in the last three minutes";
            status.missing.push(Cause::Network.error(message));
        }
        if let Some(address) = line(root, WIREGUARD_ADDRESS).and_then(|a| a.parse().ok()) {
            probe_ssh(status, address);
        }
    }
    status.require(desired);
}

fn probe_ssh(status: &mut Status, address: IpAddr) {
    status.fact("address", address.to_string());
    let answer = ssh_probe::probe(address);
    status.require(answer.map_err(|e| ssh_probe::failure(address, &e)));
}
