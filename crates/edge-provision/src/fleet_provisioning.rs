//! Requests of AWS IoT fleet provisioning: the request for a certificate, and the
//! registration of the thing. See
//! <https://docs.aws.amazon.com/iot/latest/developerguide/fleet-provision-api.html>.
//!
//! The API has no client token, so answers are matched by topic, and only one request
//! is in flight. AWS may deliver a message twice or late, so an answer for another key
//! or another thing is skipped.

use std::time::{Duration, Instant};

use edge_common::log::{self, printable};
use edge_common::mqtt::{Event, Session};
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::sign::Signer;
use serde_json::{Value, json};

use crate::device::Device;
use crate::error::AttemptError;
use crate::store::PendingCertificate;
use crate::{pki, rejection};

/// Time limit of each network operation: connecting, subscribing, publishing, and
/// waiting for an answer.
pub(crate) const STEP_LIMIT: Duration = Duration::from_secs(10);
/// MQTT topic of requests for a certificate by signing request (CSR).
const CREATE: &str = "$aws/certificates/create-from-csr/json";

fn register_topic(template: &str) -> String {
    format!("$aws/provisioning-templates/{template}/provision/json")
}

/// Subscribes to the answers of both requests in one packet, which saves a round trip.
pub(crate) fn subscribe(session: &Session, template: &str) -> Result<(), AttemptError> {
    let register = register_topic(template);
    let topics = [CREATE, &register].map(|t| [format!("{t}/accepted"), format!("{t}/rejected")]);
    let topics: Vec<_> = topics.iter().flatten().map(String::as_str).collect();
    session
        .subscribe(&topics)
        .map_err(|e| AttemptError::Disconnected(format!("{e:#}")))
}

/// Requests a certificate for `key`, and checks that it matches the key and is valid
/// now.
pub(crate) fn request_certificate(
    session: &Session,
    key: &PKey<Private>,
    thing_name: &str,
) -> Result<PendingCertificate, AttemptError> {
    let request = json!({ "certificateSigningRequest": pki::signing_request(key, thing_name)? });
    request_answer(session, CREATE, &request, |answer| {
        let certificate = text(answer, "certificatePem")?;
        let token = text(answer, "certificateOwnershipToken")?;
        let parsed =
            pki::certificate(certificate.as_bytes()).map_err(|e| format!("certificatePem: {e}"))?;
        if !pki::is_key_of(key, &parsed) {
            return Err("the certificate is for another key".into());
        }
        if pki::expired(&parsed).unwrap_or(true) {
            return Err("the certificate has expired: is the clock right?".into());
        }
        // The cloud has just issued the certificate, so a start in the future shows that
        // the clock is slow. The certificate is as good as any other.
        if pki::not_yet_valid(&parsed).unwrap_or(false) {
            log::warn(format_args!(
                "the clock is slow: it is {} or later; is time synchronisation running?",
                parsed.not_before()
            ));
        }
        Ok(PendingCertificate::new(certificate.into(), token.into()))
    })
}

/// Private key by which the cloud already knows this device. Its signature over the new
/// public key proves to the pre-provisioning hook that the device itself replaces its
/// certificate. Without this proof the hook denies a thing that has an active
/// certificate, so that the claim of the device image is not sufficient to replace the
/// device.
#[derive(Clone, Copy)]
pub(crate) struct ProofOfPossession<'a>(pub &'a PKey<Private>);

impl ProofOfPossession<'_> {
    /// Signs the thing name, a line feed and the new public key (`SubjectPublicKeyInfo`
    /// in DER) with SHA-256, and returns the signature as Base64.
    fn sign(self, thing_name: &str, key: &PKey<Private>) -> anyhow::Result<String> {
        let mut signer = Signer::new(MessageDigest::sha256(), self.0)?;
        signer.update(format!("{thing_name}\n").as_bytes())?;
        signer.update(&key.public_key_to_der()?)?;
        Ok(openssl::base64::encode_block(&signer.sign_to_vec()?))
    }
}

/// Registers the thing with the certificate that the ownership token `token` stands
/// for, and with a proof of possession if there is one.
pub(crate) fn register(
    session: &Session,
    template: &str,
    device: &Device,
    token: &str,
    proof: Option<ProofOfPossession>,
    key: &PKey<Private>,
) -> Result<(), AttemptError> {
    let mut request = json!({
        "certificateOwnershipToken": token,
        "parameters": {
            "SerialNumber": device.serial,
            "MacAddress": device.mac,
            "ThingName": device.thing_name,
        },
    });
    if let Some(proof) = proof {
        request["parameters"]["Proof"] = proof.sign(&device.thing_name, key)?.into();
    }
    request_answer(session, &register_topic(template), &request, |answer| {
        let name = text(answer, "thingName")?;
        if name != device.thing_name {
            return Err(format!(
                "the cloud registered {name} instead of {}",
                device.thing_name
            ));
        }
        Ok(())
    })
}

/// Publishes `request` to `topic` and waits for an answer that `accept` accepts, or for
/// a rejection.
fn request_answer<T>(
    session: &Session,
    topic: &str,
    request: &Value,
    accept: impl Fn(&Value) -> Result<T, String>,
) -> Result<T, AttemptError> {
    let published = session.publish(topic, request.to_string());
    published.map_err(|e| AttemptError::Disconnected(format!("{e:#}")))?;
    let end = Instant::now() + STEP_LIMIT;
    let mut failure = format!("no answer on {topic} within {} s", STEP_LIMIT.as_secs());
    loop {
        let message = match session.receive(end.saturating_duration_since(Instant::now())) {
            Event::Message(message) => message,
            Event::Timeout => return Err(AttemptError::Transient(failure)),
            Event::Disconnected => {
                let message = format!("the connection was lost waiting for {topic}");
                return Err(AttemptError::Disconnected(message));
            }
        };
        let Some(kind) = message.topic.strip_prefix(topic) else {
            continue;
        };
        let answer = serde_json::from_slice(&message.payload);
        let answer = answer.map_err(|_| format!("the answer on {topic} is not JSON"));
        match (kind, answer) {
            ("/accepted", Ok(answer)) => match accept(&answer) {
                Ok(accepted) => return Ok(accepted),
                // This may be a late answer to an earlier request, so the wait
                // continues.
                Err(reason) => failure = printable(&reason),
            },
            ("/rejected", Ok(answer)) => return Err(rejection::classify(&answer)),
            (_, Err(reason)) => failure = reason,
            _ => {}
        }
    }
}

fn text<'a>(answer: &'a Value, field: &str) -> Result<&'a str, String> {
    answer[field]
        .as_str()
        .ok_or_else(|| format!("the answer has no {field}"))
}
