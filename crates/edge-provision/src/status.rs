//! Command `status`, which prints the state of the identity on disk without using the
//! network.

use std::io::ErrorKind;

use anyhow::Result;
use edge_common::contract::path::PROVISIONED;
use edge_common::exit::{denied, is_denied};
use edge_common::{Root, file, hex, log};
use openssl::asn1::{Asn1Time, Asn1TimeRef};
use openssl::hash::MessageDigest;
use serde_json::{Value, json};

use crate::device::Device;
use crate::store::{self, Location};

/// State of what an unprivileged user may not read, which is neither valid nor absent.
const UNREADABLE: &str = "cannot be read";

/// Prints the state of the identity, as text or as one JSON object. Without a valid
/// identity the error follows, with exit code 1.
pub(crate) fn print(root: &Root, device: &Device, as_json: bool) -> Result<()> {
    let (facts, result) = gather(root, device);
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

fn gather(root: &Root, device: &Device) -> (Value, Result<()>) {
    let marker = file::read_text(&root.path(PROVISIONED), 64).map(|m| m.trim().to_string());
    let marker = marker.or_else(|error| match is_denied(&error) {
        true => Ok(UNREADABLE.to_string()),
        false => Err(error),
    });
    let mut facts = json!({
        "thing": device.thing_name,
        "provisioned": marker.ok(),
        "identity": "none",
        "renewal": renewal(root),
    });
    match store::validate(root, &device.thing_name) {
        Ok((config, certificate)) => {
            facts["identity"] = "valid".into();
            facts["endpoint"] = config.endpoint.into();
            facts["valid_until"] = certificate.not_after().to_string().into();
            facts["days_left"] = days_left(certificate.not_after()).into();
            facts["certificate"] = certificate
                .digest(MessageDigest::sha256())
                .map(|digest| hex::encode(&*digest))
                .unwrap_or_default()
                .into();
            (facts, Ok(()))
        }
        Err(error) if is_denied(&error) => {
            facts["identity"] = UNREADABLE.into();
            facts["reason"] = "run as root".into();
            (facts, Err(denied(error)))
        }
        Err(error) => {
            let states = [
                (Location::Current.config(root), "broken"),
                (Location::Current.pending(root), "pending"),
                (Location::Current.certificate(root), "broken"),
                (Location::Current.key(root), "key"),
            ];
            let state = states.iter().find(|(path, _)| path.exists());
            facts["identity"] = state.map_or("none", |(_, state)| state).into();
            facts["reason"] = format!("{error:#}").into();
            (facts, Err(error))
        }
    }
}

/// Returns the state of a renewal, if there is one.
fn renewal(root: &Root) -> Option<&'static str> {
    match std::fs::metadata(Location::Next.directory(root)) {
        Ok(_) => Some("begun"),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Some(UNREADABLE),
        Err(_) => None,
    }
}

fn days_left(end: &Asn1TimeRef) -> Option<i32> {
    let now = Asn1Time::days_from_now(0).ok()?;
    now.diff(end).ok().map(|left| left.days)
}
