//! Credentials of the one registry: kept as docker's client keeps them, read as
//! data, never handed to a docker client.

use std::collections::BTreeMap;
use std::io::Read;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use edge_common::{Root, file};
use edge_signature::{Credentials, Error, Registry};
use serde::{Deserialize, Serialize};
use serde_json::json;

use edge_docker_policy::cli::args::{self, Parsed, flag, value};
use edge_docker_policy::refusal::refuse;

use super::failure;
use crate::trust;

const DIRECTORY: &str = "/data/.docker";
const FILE: &str = "/data/.docker/config.json";
/// Largest password, in bytes: tokens of ECR have about 2,500.
const LARGEST: u64 = 16 * 1024;

#[derive(Default, Serialize, Deserialize)]
struct Config {
    #[serde(default)]
    auths: BTreeMap<String, Auth>,
}

#[derive(Serialize, Deserialize)]
struct Auth {
    auth: String,
}

/// `login --username U --password-stdin [HOST]`.
///
/// # Errors
/// Refused, wrong credentials, or the registry does not answer.
pub async fn login(root: &Root, words: &[&str]) -> Result<()> {
    let known = [value('u', "username"), flag(' ', "password-stdin")];
    let why = |o: &str| format!("option {o} is refused: login --username NAME --password-stdin");
    let parsed = args::parse(&known, words, true, why)?;
    let trust = trust::load(root)?;
    let host = trust.repository.host();
    if parsed.words.iter().any(|w| *w != host) || parsed.words.len() > 1 {
        return Err(refuse(format_args!(
            "login is refused elsewhere than at {host}"
        )));
    }
    let credentials = given(&parsed)?
        .ok_or_else(|| refuse("login needs --username NAME and --password-stdin"))?;
    verify(&trust, &credentials)
        .await
        .map_err(failure::failure)?;
    let auth = STANDARD.encode(format!("{}:{}", credentials.username, credentials.password));
    let config = Config {
        auths: BTreeMap::from([(host.to_string(), Auth { auth })]),
    };
    file::create_directory(&root.path(DIRECTORY), 0o700)?;
    let text = serde_json::to_vec(&config).context("writing the login")?;
    file::write(&root.path(FILE), &text, 0o600)?;
    println!("Login Succeeded");
    Ok(())
}

/// What `--username NAME --password-stdin` and standard input say, if anything.
///
/// # Errors
/// One without the other.
pub fn given(parsed: &Parsed) -> Result<Option<Credentials>> {
    let username = parsed.options.iter().rev().find(|(o, _)| *o == "username");
    let stdin = parsed.options.contains(&("password-stdin", "true"));
    let username = match (username, stdin) {
        (None, false) => return Ok(None),
        (Some((_, name)), true) if !name.is_empty() && !name.contains(':') => *name,
        _ => {
            return Err(refuse(
                "--username NAME and --password-stdin go together, and NAME holds no colon",
            ));
        }
    };
    let mut password = String::new();
    std::io::stdin()
        .take(LARGEST)
        .read_to_string(&mut password)
        .context("reading the password")?;
    Ok(Some(Credentials {
        username: username.into(),
        password: password.trim_end_matches(['\r', '\n']).to_string(),
    }))
}

async fn verify(trust: &trust::Trust, credentials: &Credentials) -> Result<(), Error> {
    let registry = Registry::new(&trust.repository, Some(credentials.clone()), &[])?;
    registry.login().await
}

/// `logout [HOST]`: drops what is kept.
///
/// # Errors
/// Refused, or the file cannot be removed.
pub fn logout(root: &Root, words: &[&str]) -> Result<()> {
    let parsed = args::parse(&[], words, true, |o| format!("logout takes no {o}"))?;
    let trust = trust::load(root)?;
    if parsed.words.len() > 1 || parsed.words.iter().any(|w| *w != trust.repository.host()) {
        return Err(refuse(format_args!(
            "logout takes {}",
            trust.repository.host()
        )));
    }
    let path = root.path(FILE);
    if path.exists() {
        std::fs::remove_file(path).with_context(|| format!("removing {FILE}"))?;
    }
    println!("Removing login credentials for {}", trust.repository.host());
    Ok(())
}

/// What is kept for `host`.
pub fn credentials(root: &Root, host: &str) -> Option<Credentials> {
    let text = file::read(&root.path(FILE), 4 * LARGEST).ok()?;
    let config: Config = serde_json::from_slice(&text).ok()?;
    let pair = STANDARD.decode(&config.auths.get(host)?.auth).ok()?;
    let pair = String::from_utf8(pair).ok()?;
    let (username, password) = pair.split_once(':')?;
    Some(Credentials {
        username: username.into(),
        password: password.into(),
    })
}

/// The same as the engine's `X-Registry-Auth`.
pub fn header(root: &Root, host: &str) -> Option<String> {
    credentials(root, host).map(|c| encode(&c, host))
}

/// Credentials as the engine takes them.
pub fn encode(credentials: &Credentials, host: &str) -> String {
    let value = json!({ "username": credentials.username, "password": credentials.password, "serveraddress": host });
    URL_SAFE.encode(value.to_string())
}
