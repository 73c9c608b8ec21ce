//! AWS API of the local cloud: the simulator moto, with the resources that
//! Terraform creates in an account. moto does not check the signatures of requests,
//! so plain HTTP requests with JSON suffice and no SDK is needed.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;

use anyhow::{Context, Result, bail};
use edge_common::file;
use serde_json::{Value, json};

use super::policy::ROLE_ALIAS;
use super::{HOST, Ports, TEMPLATE};

/// Alias in KMS of the key that signs container images.
pub(crate) const KEY_ALIAS: &str = "alias/edge-container-signing";
/// Alias in KMS of the key that signs break-glass tickets.
pub(crate) const TICKET_KEY_ALIAS: &str = "alias/edge-engineer-signing";
/// Alias in KMS of the key that signs release sets.
pub(crate) const SET_KEY_ALIAS: &str = "alias/edge-set-signing";
/// Region of the local cloud.
pub(crate) const REGION: &str = "eu-central-1";

/// Public keys in KMS, PEM.
pub(crate) struct PublicKeys {
    /// Key that signs container images.
    pub containers: String,
    /// Key that signs break-glass tickets.
    pub tickets: String,
    /// Key that signs release sets.
    pub sets: String,
}

/// Creates the signing keys in KMS, the repository in ECR and the parameters in SSM.
/// Returns the public keys.
pub(crate) fn seed(dir: &Path, ports: &Ports) -> Result<PublicKeys> {
    let request = |target: &str, body: Value| call(ports.aws, target, &body);
    let public = PublicKeys {
        containers: signing_key(ports, KEY_ALIAS)?,
        tickets: signing_key(ports, TICKET_KEY_ALIAS)?,
        sets: signing_key(ports, SET_KEY_ALIAS)?,
    };
    request(
        "AmazonEC2ContainerRegistry_V20150921.CreateRepository",
        json!({ "repositoryName": "edge-ai", "imageTagMutability": "IMMUTABLE" }),
    )?;
    let read =
        |name: &str| fs::read_to_string(dir.join(name)).with_context(|| format!("reading {name}"));
    let config =
        json!({ "endpoint": HOST, "port": ports.mqtt, "template_name": TEMPLATE, "spread_seconds": 0 })
            .to_string();
    file::write(&dir.join("claim.json"), config.as_bytes(), 0o644)?;
    for (name, value, kind) in [
        (
            "fleet-provisioning/claim-cert",
            read("claim.crt")?,
            "String",
        ),
        (
            "fleet-provisioning/claim-key",
            read("claim.key")?,
            "SecureString",
        ),
        ("fleet-provisioning/config", config, "String"),
        (
            "pki/container-signing-public-key",
            public.containers.clone(),
            "String",
        ),
        (
            "pki/engineer-signing-public-key",
            public.tickets.clone(),
            "String",
        ),
        ("pki/set-signing-public-key", public.sets.clone(), "String"),
        ("fleet/config", fleet_config(ports), "String"),
        (
            "ecr/repository-url",
            format!("{HOST}:{}/edge-ai", ports.registry),
            "String",
        ),
        (
            "nordvpn-token",
            "local-cloud-token".to_string(),
            "SecureString",
        ),
    ] {
        let name = format!("/edge-ai/{name}");
        request(
            "AmazonSSM.PutParameter",
            json!({ "Name": name, "Value": value, "Type": kind, "Overwrite": true }),
        )?;
    }
    Ok(public)
}

/// Returns `fleet.json` of the device image: where devices request credentials and tokens.
pub(super) fn fleet_config(ports: &Ports) -> String {
    let config = json!({
        "credentials_endpoint": format!("{HOST}:{}", ports.credentials),
        "ecr_endpoint": format!("{HOST}:{}", ports.ecr),
        "region": REGION,
        "role_alias": ROLE_ALIAS,
    });
    config.to_string()
}

/// Creates a signing key with an alias and returns its public half, PEM.
fn signing_key(ports: &Ports, alias: &str) -> Result<String> {
    let request = |target: &str, body: Value| call(ports.aws, target, &body);
    let key = request(
        "TrentService.CreateKey",
        json!({ "KeySpec": "ECC_NIST_P256", "KeyUsage": "SIGN_VERIFY" }),
    )?;
    let key = key["KeyMetadata"]["KeyId"]
        .as_str()
        .context("CreateKey returned no KeyId")?;
    request(
        "TrentService.CreateAlias",
        json!({ "AliasName": alias, "TargetKeyId": key }),
    )?;
    let public = request("TrentService.GetPublicKey", json!({ "KeyId": alias }))?;
    let public = public["PublicKey"]
        .as_str()
        .context("GetPublicKey returned no PublicKey")?;
    Ok(pem(public))
}

fn pem(base64: &str) -> String {
    let lines: Vec<_> = base64
        .as_bytes()
        .chunks(64)
        .map(String::from_utf8_lossy)
        .collect();
    format!(
        "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
        lines.join("\n")
    )
}

fn call(port: u16, target: &str, body: &Value) -> Result<Value> {
    let service = match target.split('.').next().unwrap_or_default() {
        "TrentService" => "kms",
        "AmazonSSM" => "ssm",
        _ => "ecr",
    };
    let body = body.to_string();
    let credential = format!(
        "AWS4-HMAC-SHA256 Credential=test/20260101/{REGION}/{service}/aws4_request, SignedHeaders=host, Signature=0"
    );
    let mut stream = TcpStream::connect(("127.0.0.1", port)).context("connecting to moto")?;
    write!(
        stream,
        "POST / HTTP/1.0\r\nHost: {service}.{REGION}.amazonaws.com\r\nX-Amz-Target: {target}\r\n\
         Content-Type: application/x-amz-json-1.1\r\nAuthorization: {credential}\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )?;
    let mut response = String::new();
    stream
        .read_to_string(&mut response)
        .context("reading the response of moto")?;
    let (head, content) = response
        .split_once("\r\n\r\n")
        .context("parsing the response of moto")?;
    if !head.lines().next().is_some_and(|l| l.contains(" 200 ")) {
        bail!("{target}: {content}");
    }
    Ok(serde_json::from_str(content).unwrap_or_default())
}
