//! What is there and what is missing; nothing is changed.

use std::net::IpAddr;

use anyhow::{Error, Result};
use edge_common::{Root, boot, exit, file, log};
use serde_json::{Map, Value, json};

use crate::cause::Cause;
use crate::client::Client;
use crate::config::{Config, Nordvpn, Provider, Wireguard};
use crate::{desired, key, later, nordvpn, ready, sshd, unit, wg, wireguard};

/// Facts, and the first thing that is missing.
struct Status {
    facts: Map<String, Value>,
    missing: Vec<Error>,
}

/// Prints it.
///
/// # Errors
/// Not ready: the exit code of the first cause, and all that is missing.
pub fn print(root: &Root, as_json: bool) -> Result<()> {
    let status = gather(root);
    let Status { mut facts, missing } = status;
    let words: Vec<_> = missing.iter().map(|e| format!("{e:#}")).collect();
    facts.insert("ready".into(), missing.is_empty().into());
    if as_json {
        facts.insert("missing".into(), json!(words));
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
        for word in words.iter().skip(1) {
            log::error(word);
        }
    }
    missing.into_iter().next().map_or(Ok(()), Err)
}

impl Status {
    fn fact(&mut self, name: &str, value: impl Into<Value>) {
        self.facts.insert(name.into(), value.into());
    }

    fn needs<T>(&mut self, result: Result<T>) -> Option<T> {
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
    if let Some(policy) = status.needs(sshd::Policy::load(root)) {
        let word = if policy == sshd::Policy::Vpn {
            "vpn"
        } else {
            "any"
        };
        status.fact("ssh", word);
    }
    let Some(config) = status.needs(Config::load(root)) else {
        return status;
    };
    match config.provider {
        Provider::None => status.fact("provider", "none"),
        Provider::Nordvpn(config) => of_nordvpn(root, &config, &mut status),
        Provider::Wireguard(config) => of_wireguard(root, &config, &mut status),
    }
    status
}

fn line(root: &Root, path: &str) -> Option<String> {
    let text = file::read_text(&root.path(path), 256).ok()?;
    Some(text.trim().to_string())
}

fn of_nordvpn(root: &Root, config: &Nordvpn, status: &mut Status) {
    status.fact("provider", "nordvpn");
    status.fact("image", config.image.as_str());
    status.fact("hostname", line(root, nordvpn::HOSTNAME));
    status.needs(nordvpn::kernel(root));
    let active = unit::active(root);
    status.fact("container", if active { "started" } else { "down" });
    for what in ["login", "meshnet", "nickname"] {
        status.missing.extend(later::noted(root, what).map(|n| n.1));
    }
    let list = Client::new(root, &config.app).list();
    let list = list.and_then(|answer| {
        answer.map_err(|said| {
            let error = said.error();
            let gone = exit::code_of(&error) == Cause::Daemon.code();
            if gone { unit::why(root, error) } else { error }
        })
    });
    let Some(list) = status.needs(list) else {
        return;
    };
    status.fact("nickname", list.own.get("Nickname"));
    if let Some(address) = status.needs(list.own.address()) {
        reachable(status, address);
    }
}

fn of_wireguard(root: &Root, config: &Wireguard, status: &mut Status) {
    status.fact("provider", "wireguard");
    status.fact("interface", config.interface.as_str());
    status.fact("hostname", line(root, wireguard::HOSTNAME));
    status.fact("address", line(root, wireguard::ADDRESS));
    status.fact("public_key", line(root, key::PUBLIC));
    let (_, wish) = desired::load(root, config);
    let wish = wish.map_err(|e| Cause::Config.wrap(e));
    if let Some(ages) = status.needs(wireguard::ages(root, config)) {
        let age = |age: &Option<u64>| age.map_or("never".into(), |a| format!("{a} s ago"));
        let peers: Map<_, _> = ages
            .iter()
            .map(|(k, a)| (k.clone(), age(a).into()))
            .collect();
        status.fact("handshakes", peers);
        let fresh = |a: &Option<u64>| a.is_some_and(|a| a <= wg::FRESH);
        if !ages.is_empty() && !ages.iter().any(|(_, a)| fresh(a)) {
            let told = "no handshake in the last three minutes";
            status.missing.push(Cause::Network.error(told));
        }
        if let Some(address) = line(root, wireguard::ADDRESS).and_then(|a| a.parse().ok()) {
            reachable(status, address);
        }
    }
    status.needs(wish);
}

fn reachable(status: &mut Status, address: IpAddr) {
    status.fact("address", address.to_string());
    let answer = ready::look(address);
    let told = |e| Cause::Ssh.error(format_args!("SSH does not answer at {address}: {e}"));
    status.needs(answer.map_err(told));
}
