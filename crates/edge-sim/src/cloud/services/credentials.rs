//! Credentials provider of AWS IoT: temporary keys in exchange for a device certificate.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result};
use edge_common::{file, time};
use openssl::x509::X509;
use serde_json::json;

use crate::cloud::http::Request;
use crate::cloud::policy::{Policy, ROLE_ALIAS};
use crate::cloud::sigv4::Secret;
use crate::cloud::{TEMPLATE, attached, pki};

use super::Answer;

/// Validity of credentials in seconds, as Terraform sets it for the role alias.
const LIFE: u64 = 3600;

/// Keys that were issued, by access key ID.
pub(super) type Keys = HashMap<String, Secret>;

/// Answers `GET /role-aliases/ALIAS/credentials`; `life` replaces the validity in seconds.
/// Statuses and messages are those that AWS was seen to answer.
pub(super) fn answer(
    dir: &Path,
    request: &Request,
    certificate: Option<&X509>,
    keys: &mut Keys,
    now: u64,
    life: Option<u64>,
) -> Result<Answer> {
    let alias = (request.path.strip_prefix("/role-aliases/"))
        .and_then(|path| path.strip_suffix("/credentials"))
        .filter(|alias| !alias.is_empty() && !alias.contains('/'));
    let (true, Some(alias)) = (request.method == "GET", alias) else {
        let message = "Invalid request";
        return Ok(Answer::refused(400, "InvalidRequestException", message));
    };
    let denied = |message: &str| Answer::refused(403, "AccessDeniedException", message);
    let Some((policy, thing)) = identity(dir, certificate)? else {
        return Ok(denied("Certificate is invalid on this endpoint"));
    };
    let named = request.header("x-amzn-iot-thingname");
    if named.is_some() && named != thing.as_deref() {
        return Ok(denied("Invalid thing name passed"));
    }
    // Without the header the policy variables of the thing are empty.
    let resource = format!("rolealias/{alias}");
    if !policy.allows("iot:AssumeRoleWithCertificate", &resource, named) {
        return Ok(denied("Access Denied"));
    }
    if alias != ROLE_ALIAS {
        let message = "Role alias does not exist";
        return Ok(Answer::refused(404, "ResourceNotFoundException", message));
    }
    let expires = now + life.unwrap_or(LIFE);
    let (id, secret) = issue(expires)?;
    let credentials = json!({ "credentials": {
        "accessKeyId": id,
        "secretAccessKey": secret.key,
        "sessionToken": secret.token,
        "expiration": time::rfc3339(expires),
    }});
    keys.insert(id, secret);
    Ok(Answer::accepted(credentials))
}

/// Returns the policy of a client certificate and the thing that it is attached to; `None` if
/// the certificate is not registered or not active.
fn identity(dir: &Path, certificate: Option<&X509>) -> Result<Option<(Policy, Option<String>)>> {
    let Some(certificate) = certificate else {
        return Ok(None);
    };
    let presented = certificate.to_der()?;
    let claim = X509::from_pem(&file::read(&dir.join("claim.crt"), 64 * 1024)?)?;
    if claim.to_der()? == presented {
        return Ok(Some((Policy::claim(TEMPLATE)?, None)));
    }
    let id = pki::common_name(&certificate.to_pem()?)?;
    match attached(dir, &id) {
        Some(thing) => Ok(Some((Policy::device()?, Some(thing)))),
        None => Ok(None),
    }
}

/// Returns a new access key ID and its secret, in the alphabet and length of those of AWS.
fn issue(expires: u64) -> Result<(String, Secret)> {
    let base64 = |bytes: usize| -> Result<String> {
        let mut random = vec![0; bytes];
        openssl::rand::rand_bytes(&mut random).context("drawing a key")?;
        Ok(openssl::base64::encode_block(&random))
    };
    let id: String = pki::random_hex(8)?.to_uppercase();
    let secret = Secret {
        key: base64(30)?,
        token: Some(format!("IQoJb3JpZ2luX2Vj{}", base64(700)?)),
        expires: Some(expires),
    };
    Ok((format!("ASIA{id}"), secret))
}
