//! What is there, for people and for programs; no network.

use anyhow::Result;
use edge_common::{Root, file, log};
use openssl::asn1::{Asn1Time, Asn1TimeRef};
use openssl::hash::MessageDigest;
use serde_json::{Value, json};

use crate::device::Identity;
use crate::mark::MARKER;
use crate::state::{self, Place};

/// Prints it.
///
/// # Errors
/// No valid identity: exit code 1, with the reason.
pub fn print(root: &Root, thing: &Identity, as_json: bool) -> Result<()> {
    let (facts, result) = gather(root, thing);
    if as_json {
        println!("{facts}");
        return result;
    }
    for (name, value) in facts.as_object().into_iter().flatten() {
        let text = match value {
            Value::Null => "no".into(),
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        println!("{name:<11} {}", log::printable(&text));
    }
    result
}

fn gather(root: &Root, thing: &Identity) -> (Value, Result<()>) {
    let marker = file::read_text(&root.path(MARKER), 64).ok();
    let mut facts = json!({
        "thing": thing.name,
        "provisioned": marker.map(|m| m.trim().to_string()),
        "identity": "none",
        "renewal": Place::Next.directory(root).exists().then_some("begun"),
    });
    match state::committed(root, &thing.name) {
        Ok((config, certificate)) => {
            facts["identity"] = "valid".into();
            facts["endpoint"] = config.endpoint.into();
            facts["valid_until"] = utc(certificate.not_after()).into();
            facts["days_left"] = days_left(certificate.not_after()).into();
            facts["certificate"] = certificate
                .digest(MessageDigest::sha256())
                .map(|d| d.iter().map(|b| format!("{b:02x}")).collect::<String>())
                .unwrap_or_default()
                .into();
            (facts, Ok(()))
        }
        Err(error) => {
            let found = [
                (Place::Current.config(root), "broken"),
                (Place::Current.pending(root), "pending"),
                (Place::Current.certificate(root), "broken"),
                (Place::Current.key(root), "key"),
            ];
            let found = found.iter().find(|(path, _)| path.exists());
            facts["identity"] = found.map_or("none", |(_, state)| state).into();
            facts["reason"] = format!("{error:#}").into();
            (facts, Err(error))
        }
    }
}

fn days_left(end: &Asn1TimeRef) -> Option<i32> {
    let now = Asn1Time::days_from_now(0).ok()?;
    now.diff(end).ok().map(|left| left.days)
}

/// OpenSSL's words for a time, which are in UTC.
fn utc(time: &Asn1TimeRef) -> String {
    time.to_string()
}
