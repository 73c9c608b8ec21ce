//! `login` and `logout`: credentials of the trusted registry, in the format of docker's
//! `config.json`.
//!
//! edge-docker reads the credentials as data and sends them with its requests. Docker's
//! client never reads this directory, because it would execute the plugins and credential
//! helpers that are configured there.

use std::io::Read;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE;
use edge_common::{Root, file};
use edge_docker_policy::cli::args::Parsed;
use edge_docker_policy::refusal::refuse;
use edge_signature::{Credentials, Error, Registry};
use serde_json::json;

use super::failure;
use crate::ledger;
use crate::trust::{self, Trust};

/// Directory of the file with credentials, accessible to root only.
const DIRECTORY: &str = "/data/.docker";
/// File with the credentials that `login` stores, in docker's format.
const FILE: &str = "/data/.docker/config.json";
/// Limit of a password in bytes; tokens of ECR have about 2,500.
const MAX_PASSWORD_BYTES: u64 = 16 * 1024;
/// Size limit of the file with credentials, in bytes.
const MAX_FILE_BYTES: u64 = 64 * 1024;

/// Carries out `login --username NAME --password-stdin [HOST]`: verifies the credentials
/// at the registry and stores them.
pub(crate) async fn login(root: &Root, parsed: &Parsed<'_>) -> Result<()> {
    let trust = trust::load(root)?;
    let host = trust.repository.host();
    if parsed.arguments.len() > 1 || parsed.arguments.iter().any(|arg| *arg != host) {
        return Err(refuse(format_args!(
            "login is refused: the only registry of this device is {host}"
        )));
    }
    let credentials = from_command_line(parsed)?
        .ok_or_else(|| refuse("login needs --username NAME and --password-stdin"))?;
    // Stored only after the registry has accepted them, because a typing error must not
    // replace valid credentials.
    verify(&trust, &credentials).await.map_err(failure::of)?;
    ledger::record(root, "login")?;
    file::create_directory(&root.path(DIRECTORY), 0o700)?;
    let text = credentials.to_docker_config(host);
    file::write(&root.path(FILE), text.as_bytes(), 0o600)?;
    // Scripts search for this line in the output of docker's client.
    println!("Login Succeeded");
    Ok(())
}

/// Reads the credentials for `--username NAME --password-stdin` from the options and
/// standard input. Returns `None` without these options.
pub(crate) fn from_command_line(parsed: &Parsed) -> Result<Option<Credentials>> {
    // There is no `--password`, because the process list and the history of the shell
    // would show the password.
    let username = match (parsed.last("username"), parsed.is_set("password-stdin")) {
        (None, false) => return Ok(None),
        // The file stores NAME:PASSWORD, so a name must not contain a colon.
        (Some(name), true) if !name.is_empty() && !name.contains(':') => name,
        _ => {
            return Err(refuse(
                "--username NAME and --password-stdin go together, and NAME holds no colon",
            ));
        }
    };
    Ok(Some(Credentials {
        username: username.into(),
        password: password(std::io::stdin())?,
    }))
}

/// Reads a password: one line, whose end may be absent. No error quotes it.
fn password(input: impl Read) -> Result<String> {
    let mut bytes = Vec::new();
    let mut input = input.take(MAX_PASSWORD_BYTES + 1);
    input
        .read_to_end(&mut bytes)
        .context("reading the password")?;
    if bytes.len() as u64 > MAX_PASSWORD_BYTES {
        return Err(refuse(format_args!(
            "the password is larger than {MAX_PASSWORD_BYTES} bytes"
        )));
    }
    let text = String::from_utf8(bytes).map_err(|_| refuse("the password is not UTF-8 text"))?;
    let line = text.strip_suffix('\n').unwrap_or(&text);
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.is_empty() {
        return Err(refuse("the password on standard input is empty"));
    }
    // A second line would be a mistake, or a part of another header at some proxy.
    if line.chars().any(char::is_control) {
        return Err(refuse(
            "the password holds a line break or another control character",
        ));
    }
    Ok(line.into())
}

/// Sends a request with the credentials to the registry and fails if it rejects them.
async fn verify(trust: &Trust, credentials: &Credentials) -> Result<(), Error> {
    let registry = Registry::new(&trust.repository, Some(credentials.clone()), &[])?;
    registry.login().await
}

/// Carries out `logout [HOST]`: removes the file with the stored credentials.
pub(crate) fn logout(root: &Root, args: &[&str]) -> Result<()> {
    let trust = trust::load(root)?;
    let host = trust.repository.host();
    if args.len() > 1 || args.iter().any(|arg| *arg != host) {
        return Err(refuse(format_args!(
            "logout is refused: the only registry of this device is {host}"
        )));
    }
    ledger::record(root, "logout")?;
    let path = root.path(FILE);
    if path.exists() {
        std::fs::remove_file(path).with_context(|| format!("removing {FILE}"))?;
    }
    println!("Removing login credentials for {host}");
    Ok(())
}

/// Returns the stored credentials for `host`. An unreadable or malformed file counts as
/// absent: the registry then rejects the request, and the error recommends `login`.
pub(crate) fn credentials(root: &Root, host: &str) -> Option<Credentials> {
    let text = file::read(&root.path(FILE), MAX_FILE_BYTES).ok()?;
    Credentials::from_docker_config(&text, host)
}

/// Returns the stored credentials for `host` as a value of the header `X-Registry-Auth`.
pub(super) fn header(root: &Root, host: &str) -> Option<String> {
    credentials(root, host).map(|c| encode(&c, host))
}

/// Encodes credentials for the header `X-Registry-Auth`: a JSON object in URL-safe
/// base64.
pub(super) fn encode(credentials: &Credentials, host: &str) -> String {
    let value = match credentials.is_identity_token() {
        true => json!({ "identitytoken": credentials.password, "serveraddress": host }),
        false => json!({ "username": credentials.username, "password": credentials.password,
            "serveraddress": host }),
    };
    URL_SAFE.encode(value.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_one_line() {
        for (input, expected) in [("a b", "a b"), ("p\n", "p"), ("p\r\n", "p"), ("é", "é")] {
            assert_eq!(password(input.as_bytes()).unwrap(), expected);
        }
        let longest = "x".repeat(16 * 1024);
        assert_eq!(password(longest.as_bytes()).unwrap(), longest);
        let longer = format!("{longest}y");
        for (input, why) in [
            (&b""[..], "empty"),
            (b"\n", "empty"),
            (b"\r\n", "empty"),
            (b"secret\nsecret", "line break"),
            (b"secret\n\n", "line break"),
            (b"secret\rx", "line break"),
            (b"secret\0", "control character"),
            (b"secret\x1b[2J", "control character"),
            (b"secret\xff", "UTF-8"),
            (longer.as_bytes(), "larger than"),
        ] {
            let error = password(input).unwrap_err().to_string();
            assert!(error.contains(why) && !error.contains("secret"), "{error}");
        }
    }
}
