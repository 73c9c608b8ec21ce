//! NordVPN Meshnet, with NordVPN's client in a container: only NordVPN's own daemon
//! supports Meshnet, and the device image does not contain it.
//!
//! The client's list of devices, or the error instead of the list, shows the next
//! missing step: to log in, to enable Meshnet, to set the nickname, or to permit peers.
//! edge-vpn never calls `nordvpn logout`, because this command revokes the token.

mod client;
mod container;
mod cooldown;
mod messages;
mod network;
mod peers;

use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result};
use edge_common::contract::path::NORDVPN_HOSTNAME;
use edge_common::identity::DeviceConfig;
use edge_common::policy::SshAccess;
use edge_common::{Root, exit, file, hex, log};
use sha2::{Digest, Sha256};

use crate::cause::Cause;
use crate::config::{Nordvpn, TOKEN};
use crate::files::{prepare_directory, save_line};
use crate::sshd;
use client::{Client, Reply, SignedCommand};
pub(crate) use container::{is_running, reconcile as reconcile_container, remove};
use messages::Meaning;
use peers::{Device, List, RANGE};

/// Directory of the host name and the copy of the token, on `/data`.
const DIRECTORY: &str = "/data/config/nordvpn";
/// Path of the copy of the token in use, also for a manual login.
const TOKEN_COPY: &str = "/data/config/nordvpn/token";
/// Size limit of the token file, in bytes.
const MAX_TOKEN_BYTES: u64 = 512;
/// Longest wait for the daemon of NordVPN's client to answer.
const DAEMON_WAIT: Duration = Duration::from_secs(90);
/// First and longest pause between two requests for the list of devices.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));
/// Length limit of a nickname in Meshnet, in characters.
const MAX_NICKNAME_CHARS: usize = 25;
/// Permissions of a configured peer: label in the client's list, the value that the label
/// should have, and the command that sets it. An engineer needs only incoming traffic for
/// SSH; the other permissions would open the device's network.
const PERMISSIONS: [(&str, &str, SignedCommand); 4] = [
    (
        "Allow Incoming Traffic",
        "enabled",
        SignedCommand::AllowIncoming,
    ),
    ("Allow Routing", "disabled", SignedCommand::DenyRouting),
    (
        "Allow Local Network Access",
        "disabled",
        SignedCommand::DenyLocal,
    ),
    ("Allow Sending Files", "disabled", SignedCommand::DenyFiles),
];

/// Connects the device to Meshnet, permits the configured peers, and opens SSH on the
/// device's address.
pub(crate) fn reconcile(root: &Root, config: &Nordvpn, ssh: SshAccess, end: Instant) -> Result<()> {
    prepare_directory(root, DIRECTORY)?;
    let identity = DeviceConfig::load(root).context("reading the device's name")?;
    let token = token(root)?;
    check_kernel(root)?;
    // At later boots the engine has already started the container, and this run only waits
    // for the client.
    container::ensure(root, config)?;
    let client = Client::new(root, &config.app);
    let list = connect(root, &client, token.as_deref(), end)?;
    cooldown::clear(root, "login")?;
    cooldown::clear(root, "meshnet")?;
    let named = set_nickname(root, &client, &list.own, &nickname(&identity.thing_name));
    let permitted = permit(&client, &config.peers, &list);
    save_line(root, NORDVPN_HOSTNAME, list.own.hostname()?)?;
    sshd::open(root, ssh, list.own.address()?, RANGE)?;
    // These errors are returned last, because engineers can reach the device even
    // without a nickname.
    named.and(permitted)
}

/// Returns the entry of this device in the client's list.
pub(crate) fn own_device(root: &Root, config: &Nordvpn) -> Result<Device> {
    match Client::new(root, &config.app).list()? {
        Ok(list) => Ok(list.own),
        Err(reply) => {
            let error = reply.error();
            let down = exit::code_of(&error) == Cause::Daemon.code();
            Err(if down {
                container::explain(root, error)
            } else {
                error
            })
        }
    }
}

/// Returns the error of each request whose cooldown has not ended.
pub(crate) fn cooldowns(root: &Root) -> Vec<Error> {
    let requests = cooldown::REQUESTS.iter();
    requests
        .filter_map(|request| Some(cooldown::load(root, request)?.1))
        .collect()
}

/// Returns the token of the device image and keeps a copy on `/data`, or returns the
/// copy if the device image has no token.
fn token(root: &Root) -> Result<Option<String>> {
    let read = |path: &str| {
        let exists = std::fs::symlink_metadata(root.path(path)).is_ok();
        exists
            .then(|| file::read_text(&root.path(path), MAX_TOKEN_BYTES))
            .transpose()
    };
    let image = read(TOKEN).map_err(|e| Cause::Token.wrap(e))?;
    let copy = match &image {
        Some(_) => None,
        None => read(TOKEN_COPY).map_err(|e| Cause::Token.wrap(e))?,
    };
    let Some(text) = image.as_ref().or(copy.as_ref()) else {
        return Ok(None);
    };
    let token = text.trim();
    // The error must not quote the token.
    if token.len() < 16 || !token.chars().all(|c| c.is_ascii_alphanumeric()) {
        return Err(Cause::Token.error(format_args!(
            "{TOKEN}: not a token, which has 16 or more letters and digits"
        )));
    }
    if image.is_some() {
        file::ensure(
            &root.path(TOKEN_COPY),
            format!("{token}\n").as_bytes(),
            0o600,
        )?;
    }
    Ok(Some(token.into()))
}

/// Checks that the kernel has TUN, because without TUN the client fails with an unclear
/// message.
pub(crate) fn check_kernel(root: &Root) -> Result<()> {
    if root.path("/dev/net/tun").exists() {
        return Ok(());
    }
    Err(Cause::Kernel.error("the kernel has no TUN: /dev/net/tun is missing"))
}

/// Performs the missing steps until the client returns the list of devices.
fn connect(root: &Root, client: &Client, token: Option<&str>, end: Instant) -> Result<List> {
    // Without a registration, even the list of devices makes the client request one.
    cooldown::check(root, "meshnet", &key(token))?;
    let daemon_end = end.min(Instant::now() + DAEMON_WAIT);
    let mut done = Done::default();
    let mut pause = PAUSES.0;
    loop {
        let error = match step(root, client, token, &mut done) {
            Ok(Some(list)) => return Ok(list),
            Ok(None) => continue,
            Err(error) => error,
        };
        // Only a missing network and a starting daemon are temporary; other errors end
        // the run.
        let code = exit::code_of(&error);
        let failed = |request| cooldown::check(root, request, &key(token)).is_err();
        if failed("login") || failed("meshnet") {
            return Err(error);
        }
        let (limit, next) = match code {
            _ if code == Cause::Daemon.code() => (daemon_end, PAUSES.0),
            _ if code == Cause::Network.code() => (end, (pause * 2).min(PAUSES.1)),
            _ => return Err(error),
        };
        if Instant::now() + pause >= limit {
            let down = code == Cause::Daemon.code();
            return Err(if down {
                container::explain(root, error)
            } else {
                error
            });
        }
        std::thread::sleep(pause);
        pause = next;
    }
}

/// Requests that this run has already sent, so that none is repeated.
#[derive(Default)]
struct Done {
    login: bool,
    meshnet: bool,
}

/// Requests the list of devices. Returns it, or performs the next missing step and
/// returns `None`, so that the caller requests the list again.
fn step(
    root: &Root,
    client: &Client,
    token: Option<&str>,
    done: &mut Done,
) -> Result<Option<List>> {
    let reply = match client.list()? {
        Ok(list) => return Ok(Some(list)),
        Err(reply) => reply,
    };
    match reply.meaning {
        Meaning::LoggedOut if done.login => {
            let message = "the client accepted the token and is still logged out";
            let error = Cause::Token.error(message);
            Err(cooldown::start(root, "login", &key(token), error))
        }
        Meaning::LoggedOut => {
            log_in(root, client, token)?;
            done.login = true;
            Ok(None)
        }
        Meaning::MeshnetOff if !done.meshnet => {
            switch_on(root, client, token)?;
            done.meshnet = true;
            Ok(None)
        }
        Meaning::MeshnetOff | Meaning::Failure(Cause::Registration | Cause::Kernel) => {
            Err(cooldown::start(root, "meshnet", &key(token), reply.error()))
        }
        _ => Err(reply.error()),
    }
}

/// Returns a key of the account: with another token, everything is requested at once.
fn key(token: Option<&str>) -> String {
    token.map_or_else(String::new, hash)
}

/// Returns whether a request certainly did not reach NordVPN's servers, so that it may be
/// repeated within seconds.
fn is_local(reply: &Reply) -> bool {
    match reply.meaning {
        Meaning::Failure(Cause::Daemon | Cause::Refused) | Meaning::NoTerminal => true,
        // The client checks the connection itself and sends nothing.
        Meaning::Failure(Cause::Network) => reply.is_offline(),
        _ => false,
    }
}

fn log_in(root: &Root, client: &Client, token: Option<&str>) -> Result<()> {
    let token = token.ok_or_else(|| {
        Cause::Token.error(format_args!(
            "the client is logged out, and there is no {TOKEN}"
        ))
    })?;
    let key = hash(token);
    cooldown::check(root, "login", &key)?;
    network::check_route(root)?;
    // Without this setting the login waits for a person to answer a question.
    let consent = client.run(SignedCommand::AnalyticsOff, &[])?;
    if matches!(consent.meaning, Meaning::Failure(_)) {
        return Err(consent.error());
    }
    let reply = client.log_in(token)?;
    match reply.meaning {
        Meaning::Already => Ok(()),
        Meaning::Unknown if reply.success => {
            log::info("logged in");
            Ok(())
        }
        _ if is_local(&reply) => Err(reply.error()),
        _ => Err(cooldown::start(root, "login", &key, reply.error())),
    }
}

fn switch_on(root: &Root, client: &Client, token: Option<&str>) -> Result<()> {
    network::check_route(root)?;
    let reply = client.run(SignedCommand::MeshnetOn, &[])?;
    match reply.meaning {
        // If the login has expired meanwhile, the next request for the list shows it.
        Meaning::Already | Meaning::LoggedOut => Ok(()),
        Meaning::Unknown if reply.success => {
            log::info("Meshnet is on");
            Ok(())
        }
        _ if is_local(&reply) => Err(reply.error()),
        // Each attempt registers the device, whatever the answer is.
        _ => Err(cooldown::start(root, "meshnet", &key(token), reply.error())),
    }
}

/// Sets the nickname of this device if it differs, because NordVPN limits the number of
/// changes per week.
fn set_nickname(root: &Root, client: &Client, own: &Device, nickname: &str) -> Result<()> {
    let bare = |n: &str| n.strip_suffix(".nord").unwrap_or(n).to_string();
    let old = own.get("Nickname").map(bare);
    if old.as_deref() == Some(nickname) {
        return cooldown::clear(root, "nickname");
    }
    cooldown::check(root, "nickname", nickname)?;
    let reply = client.run(SignedCommand::Nickname, &[nickname])?;
    match reply.meaning {
        Meaning::Already => return Ok(()),
        Meaning::Unknown if reply.success => {
            log::info(format_args!("the nickname is {nickname}"));
            return Ok(());
        }
        Meaning::Failure(Cause::Network | Cause::Daemon) => return Err(reply.error()),
        _ => {}
    }
    let error = reply.error();
    let error = error.context(format!("setting the nickname {nickname}"));
    Err(cooldown::start(root, "nickname", nickname, error))
}

/// Returns eight hexadecimal digits of a hash, which distinguish texts without
/// revealing them.
fn hash(text: &str) -> String {
    hex::encode(&Sha256::digest(text)[..4])
}

/// Returns a nickname for a thing: lower-case letters, digits and single hyphens, at
/// most 25 characters. If the thing name had to be changed for this, a hash is
/// appended, so that two things do not have the same nickname.
fn nickname(thing: &str) -> String {
    let map = |c: char| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_lowercase()
        } else {
            '-'
        }
    };
    let mut name: String = thing.chars().map(map).collect();
    while name.contains("--") {
        name = name.replace("--", "-");
    }
    let name = name.trim_matches('-');
    if name == thing && name.len() <= MAX_NICKNAME_CHARS {
        return name.into();
    }
    let hash = hash(thing);
    let head: String = name
        .chars()
        .take(MAX_NICKNAME_CHARS - hash.len() - 1)
        .collect();
    format!("{}-{hash}", head.trim_matches('-'))
}

/// Permits the configured peers to connect by SSH, and denies all other permissions.
fn permit(client: &Client, peers: &[String], list: &List) -> Result<()> {
    let mut first: Result<(), Error> = Ok(());
    for peer in peers {
        let Some(device) = list.others.iter().find(|d| d.has_name(peer)) else {
            log::warn(format_args!("peer {peer} is not in Meshnet (yet)"));
            continue;
        };
        for (label, value, command) in PERMISSIONS {
            if device.get(label) == Some(value) {
                continue;
            }
            let reply = client.run(command, &[device.hostname()?])?;
            let name = command.name();
            if is_done(&reply) {
                log::info(format_args!("peer {peer}: {name}"));
            } else if first.is_ok() {
                let error = reply.error();
                first = Err(error.context(format!("peer {peer}: {name}")));
            }
        }
    }
    first
}

fn is_done(reply: &Reply) -> bool {
    reply.meaning == Meaning::Already || (reply.success && reply.meaning == Meaning::Unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nicknames_are_valid_and_unique() {
        assert_eq!(nickname("edge-ai-1234567890123"), "edge-ai-1234567890123");
        let long = nickname("edge-ai-0123456789abcdef0123456789abcdef");
        assert!(
            long.len() == 25 && long.starts_with("edge-ai-01234567"),
            "{long}"
        );
        let mut seen = std::collections::HashSet::new();
        for thing in [
            "edge-ai-A",
            "edge-ai-a",
            "edge-ai-a:",
            "edge-ai--a",
            "edge_ai-a",
            "-edge-ai-a",
            "edge-ai-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa1",
            "edge-ai-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa2",
            ":",
        ] {
            let name = nickname(thing);
            assert!(
                (1..=25).contains(&name.len()) && !name.contains("--"),
                "{name}"
            );
            assert!(
                name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'),
                "{name}"
            );
            assert!(seen.insert(name), "{thing}");
        }
    }
}
