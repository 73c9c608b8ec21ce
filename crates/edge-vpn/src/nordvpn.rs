//! NordVPN Meshnet: from wherever the client is to "this device is in it, under
//! its name, and answers".

use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result};
use edge_common::identity::DeviceConfig;
use edge_common::{Root, exit, file, log};
use sha2::{Digest, Sha256};

use crate::cause::Cause;
use crate::client::Client;
use crate::config::{Nordvpn, TOKEN};
use crate::peers::{Device, List, RANGE};
use crate::words::Meaning;
use crate::{keep_line, later, sshd, tidy, unit};

/// Directory of what is kept.
const DIRECTORY: &str = "/data/config/nordvpn";
/// The device's name in Meshnet, for edge-heartbeat.
pub const HOSTNAME: &str = "/data/config/nordvpn/meshnet-hostname";
/// The token that was used, for whoever has to log in by hand.
const COPY: &str = "/data/config/nordvpn/token";
/// Longest token, in bytes; the client takes no longer one.
const LONGEST: u64 = 512;
/// How long the client's daemon is waited for.
const DAEMON: Duration = Duration::from_secs(90);
/// First and longest pause.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));
/// Longest nickname.
const NICKNAME: usize = 25;
/// What a peer may do: the label that tells, the words, and the value it should
/// have.
const PERMISSIONS: [(&str, &str, &str, &str); 4] = [
    ("Allow Incoming Traffic", "incoming", "allow", "enabled"),
    ("Allow Routing", "routing", "deny", "disabled"),
    ("Allow Local Network Access", "local", "deny", "disabled"),
    ("Allow Sending Files", "fileshare", "deny", "disabled"),
];

/// Brings the device into Meshnet.
///
/// # Errors
/// As the exit codes say.
pub fn reconcile(root: &Root, config: &Nordvpn, ssh: sshd::Policy, end: Instant) -> Result<()> {
    tidy(root, DIRECTORY)?;
    let thing = DeviceConfig::load(root).context("finding the device's name")?;
    let token = token(root)?;
    kernel(root)?;
    unit::ensure(root, config, &thing.thing_name)?;
    let client = Client::new(root, &config.app);
    let list = settle(root, &client, token.as_deref(), end)?;
    later::forget(root, "login");
    later::forget(root, "meshnet");
    let named = name(root, &client, &list.own, &nickname(&thing.thing_name));
    let permitted = permit(&client, &config.peers, &list);
    keep_line(root, HOSTNAME, list.own.hostname()?)?;
    sshd::open(root, ssh, list.own.address()?, RANGE)?;
    // The device can be reached: what is left does not stand in its way.
    named.and(permitted)
}

/// The image's token, copied to `/data`; else the one that lies there.
fn token(root: &Root) -> Result<Option<String>> {
    let refuse = |why: &str| Cause::Token.error(format_args!("{TOKEN}: {why}"));
    let read = |path: &str| {
        let there = std::fs::symlink_metadata(root.path(path)).is_ok();
        there
            .then(|| file::read_text(&root.path(path), LONGEST))
            .transpose()
    };
    let image = read(TOKEN).map_err(|e| Cause::Token.wrap(e))?;
    let copy = match &image {
        Some(_) => None,
        None => read(COPY).map_err(|e| Cause::Token.wrap(e))?,
    };
    let Some(text) = image.as_ref().or(copy.as_ref()) else {
        return Ok(None);
    };
    let token = text.trim();
    if token.len() < 16 || !token.chars().all(|c| c.is_ascii_alphanumeric()) {
        return Err(refuse("not a token: 16 or more letters and digits"));
    }
    if image.is_some() {
        file::ensure(&root.path(COPY), format!("{token}\n").as_bytes(), 0o600)?;
    }
    Ok(Some(token.into()))
}

/// What can be seen of the kernel before the client fails on it.
///
/// # Errors
/// No TUN: exit code 8.
pub fn kernel(root: &Root) -> Result<()> {
    if root.path("/dev/net/tun").exists() {
        return Ok(());
    }
    Err(Cause::Kernel.error("the kernel has no TUN: /dev/net/tun is missing"))
}

/// Asks and does what is missing, until the client lists this device.
fn settle(root: &Root, client: &Client, token: Option<&str>, end: Instant) -> Result<List> {
    let daemon = end.min(Instant::now() + DAEMON);
    let mut done = Done::default();
    let mut pause = PAUSES.0;
    loop {
        let error = match step(root, client, token, &mut done) {
            Ok(Some(list)) => return Ok(list),
            Ok(None) => continue,
            Err(error) => error,
        };
        // Only these two may pass by themselves.
        let code = exit::code_of(&error);
        let (limit, next) = match code {
            _ if code == Cause::Daemon.code() => (daemon, PAUSES.0),
            _ if code == Cause::Network.code() => (end, (pause * 2).min(PAUSES.1)),
            _ => return Err(error),
        };
        if Instant::now() + pause >= limit {
            let gone = code == Cause::Daemon.code();
            return Err(if gone { unit::why(root, error) } else { error });
        }
        std::thread::sleep(pause);
        pause = next;
    }
}

/// What was done in this run: nothing is done twice.
#[derive(Default)]
struct Done {
    login: bool,
    meshnet: bool,
}

/// One question, and what follows from its answer. `None`: ask again.
fn step(
    root: &Root,
    client: &Client,
    token: Option<&str>,
    done: &mut Done,
) -> Result<Option<List>> {
    let said = match client.list()? {
        Ok(list) => return Ok(Some(list)),
        Err(said) => said,
    };
    match said.meaning {
        Meaning::LoggedOut if done.login => {
            Err(Cause::Token.error("the client took the token, and is logged out all the same"))
        }
        Meaning::LoggedOut => {
            log_in(root, client, token)?;
            done.login = true;
            Ok(None)
        }
        Meaning::MeshnetOff if !done.meshnet => {
            switch_on(root, client)?;
            done.meshnet = true;
            Ok(None)
        }
        _ => Err(said.error()),
    }
}

fn log_in(root: &Root, client: &Client, token: Option<&str>) -> Result<()> {
    let token = token.ok_or_else(|| {
        Cause::Token.error(format_args!(
            "the client is logged out, and there is no {TOKEN}"
        ))
    })?;
    let key = hash(token);
    later::check(root, "login", &key)?;
    // Without an answer to this the login asks one of a person.
    let consent = client.ask(&["set", "analytics", "off"])?;
    if matches!(consent.meaning, Meaning::Trouble(_)) {
        return Err(consent.error());
    }
    let said = client.log_in(token)?;
    match said.meaning {
        Meaning::Already => Ok(()),
        Meaning::Unknown if said.good => {
            log::info("logged in");
            Ok(())
        }
        Meaning::Trouble(Cause::Token | Cause::Limit) => {
            Err(later::note(root, "login", &key, said.error()))
        }
        _ => Err(said.error()),
    }
}

fn switch_on(root: &Root, client: &Client) -> Result<()> {
    later::check(root, "meshnet", "")?;
    let said = client.ask(&["set", "meshnet", "on"])?;
    match said.meaning {
        // A login ends; the next question tells.
        Meaning::Already | Meaning::LoggedOut => Ok(()),
        Meaning::Unknown if said.good => {
            log::info("Meshnet is on");
            Ok(())
        }
        Meaning::Trouble(Cause::Full | Cause::Limit) => {
            Err(later::note(root, "meshnet", "", said.error()))
        }
        _ => Err(said.error()),
    }
}

/// Sets the nickname if it differs. Changes are limited, so one that is refused
/// is not tried again for some hours.
fn name(root: &Root, client: &Client, own: &Device, nickname: &str) -> Result<()> {
    let bare = |n: &str| n.strip_suffix(".nord").unwrap_or(n).to_string();
    let old = own.get("Nickname").map(bare);
    if old.as_deref() == Some(nickname) {
        later::forget(root, "nickname");
        return Ok(());
    }
    later::check(root, "nickname", nickname)?;
    let said = client.ask(&["meshnet", "set", "nickname", nickname])?;
    match said.meaning {
        Meaning::Already => return Ok(()),
        Meaning::Unknown if said.good => {
            log::info(format_args!("the nickname is {nickname}"));
            return Ok(());
        }
        Meaning::Trouble(Cause::Network | Cause::Daemon) => return Err(said.error()),
        _ => {}
    }
    let error = said.error();
    let error = error.context(format!("setting the nickname {nickname}"));
    Err(later::note(root, "nickname", nickname, error))
}

/// Eight letters that tell texts apart, and do not tell the text.
fn hash(text: &str) -> String {
    let hash = Sha256::digest(text);
    hash.iter().take(4).map(|b| format!("{b:02x}")).collect()
}

/// At most 25 of small letters, digits and single hyphens; what does not fit is
/// shortened, and then told apart by its hash.
pub fn nickname(thing: &str) -> String {
    let good = |c: char| {
        if c.is_ascii_alphanumeric() {
            c.to_ascii_lowercase()
        } else {
            '-'
        }
    };
    let mut name: String = thing.chars().map(good).collect();
    while name.contains("--") {
        name = name.replace("--", "-");
    }
    let name = name.trim_matches('-');
    if name == thing && name.len() <= NICKNAME {
        return name.into();
    }
    let hash = hash(thing);
    let head: String = name.chars().take(NICKNAME - hash.len() - 1).collect();
    format!("{}-{hash}", head.trim_matches('-'))
}

/// Lets the peers that are named in by SSH, and no further.
fn permit(client: &Client, peers: &[String], list: &List) -> Result<()> {
    let mut first: Result<(), Error> = Ok(());
    for peer in peers {
        let Some(device) = list.others.iter().find(|d| d.is(peer)) else {
            log::warn(format_args!("peer {peer} is not in Meshnet (yet)"));
            continue;
        };
        for (label, what, verb, wanted) in PERMISSIONS {
            if device.get(label) == Some(wanted) {
                continue;
            }
            let said = client.ask(&["meshnet", "peer", what, verb, device.hostname()?])?;
            let done =
                said.meaning == Meaning::Already || (said.good && said.meaning == Meaning::Unknown);
            if done {
                log::info(format_args!("peer {peer}: {what} {verb}"));
            } else if first.is_ok() {
                let error = said.error();
                first = Err(error.context(format!("peer {peer}: {what} {verb}")));
            }
        }
    }
    first
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nicknames_fit() {
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
