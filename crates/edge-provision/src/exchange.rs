//! The two requests of fleet provisioning, as AWS IoT publishes them:
//! <https://docs.aws.amazon.com/iot/latest/developerguide/fleet-provision-api.html>.
//! There is no client token: answers are matched by topic. A repeated answer,
//! and one that is for somebody else's key or thing, is passed over.

use std::time::Instant;

use edge_common::log::printable;
use edge_common::mqtt::{Event, Session};
use openssl::hash::MessageDigest;
use openssl::pkey::{PKey, Private};
use openssl::sign::Signer;
use serde_json::{Value, json};

use crate::attempt::{STEP, Trouble};
use crate::device::Identity;
use crate::pki;
use crate::state::Pending;

const CREATE: &str = "$aws/certificates/create-from-csr/json";

fn provision(template: &str) -> String {
    format!("$aws/provisioning-templates/{template}/provision/json")
}

/// Listens for all four answers.
///
/// # Errors
/// Refused or unanswered.
pub fn subscribe(session: &Session, template: &str) -> Result<(), Trouble> {
    let provision = provision(template);
    let topics = [CREATE, &provision].map(|t| [format!("{t}/accepted"), format!("{t}/rejected")]);
    let topics: Vec<_> = topics.iter().flatten().map(String::as_str).collect();
    session
        .subscribe(&topics)
        .map_err(|e| Trouble::Lost(format!("{e:#}")))
}

/// Asks for a certificate for our key.
///
/// # Errors
/// Refused, unanswered, or a certificate that is not ours.
pub fn certificate(session: &Session, key: &PKey<Private>, name: &str) -> Result<Pending, Trouble> {
    let request = json!({ "certificateSigningRequest": pki::request(key, name)? });
    ask(session, CREATE, &request, |answer| {
        let certificate = text(answer, "certificatePem")?;
        let token = text(answer, "certificateOwnershipToken")?;
        let parsed =
            pki::certificate(certificate.as_bytes()).map_err(|e| format!("certificatePem: {e}"))?;
        if !pki::belong_together(&parsed, key) {
            return Err("the certificate is for another key".into());
        }
        let future = pki::not_yet_valid(&parsed).unwrap_or(true);
        if future || pki::expired(&parsed).unwrap_or(true) {
            return Err("the certificate is not valid now: is the clock right?".into());
        }
        Ok(Pending::new(certificate.into(), token.into()))
    })
}

/// The key that the cloud knows this device by. A signature of it over the new
/// key tells the cloud's hook that the device itself replaces its certificate.
#[derive(Clone, Copy)]
pub struct Proof<'a>(pub &'a PKey<Private>);

impl Proof<'_> {
    /// Over the thing's name, a line feed, and the new key as
    /// `SubjectPublicKeyInfo` in DER; Base64.
    fn over(self, name: &str, key: &PKey<Private>) -> anyhow::Result<String> {
        let mut signer = Signer::new(MessageDigest::sha256(), self.0)?;
        signer.update(format!("{name}\n").as_bytes())?;
        signer.update(&key.public_key_to_der()?)?;
        Ok(openssl::base64::encode_block(&signer.sign_to_vec()?))
    }
}

/// Registers the thing with the certificate that `token` stands for.
///
/// # Errors
/// Refused, unanswered, or another thing than ours.
pub fn register(
    session: &Session,
    template: &str,
    thing: &Identity,
    token: &str,
    proof: Option<Proof>,
    key: &PKey<Private>,
) -> Result<(), Trouble> {
    let mut request = json!({
        "certificateOwnershipToken": token,
        "parameters": {
            "SerialNumber": thing.serial,
            "MacAddress": thing.mac,
            "ThingName": thing.name,
        },
    });
    if let Some(proof) = proof {
        request["parameters"]["Proof"] = proof.over(&thing.name, key)?.into();
    }
    ask(session, &provision(template), &request, |answer| {
        let name = text(answer, "thingName")?;
        if name != thing.name {
            return Err(format!(
                "the cloud registered {name} instead of {}",
                thing.name
            ));
        }
        Ok(())
    })
}

/// Publishes and waits for the answer that `take` accepts.
fn ask<T>(
    session: &Session,
    topic: &str,
    request: &Value,
    take: impl Fn(&Value) -> Result<T, String>,
) -> Result<T, Trouble> {
    let sent = session.publish(topic, request.to_string());
    sent.map_err(|e| Trouble::Lost(format!("{e:#}")))?;
    let end = Instant::now() + STEP;
    let mut said = format!("no answer on {topic} within {} s", STEP.as_secs());
    loop {
        let message = match session.receive(end.saturating_duration_since(Instant::now())) {
            Event::Message(message) => message,
            Event::Timeout => return Err(Trouble::Passing(said)),
            Event::Disconnected => {
                let why = format!("the connection was lost waiting for {topic}");
                return Err(Trouble::Lost(why));
            }
        };
        let Some(kind) = message.topic.strip_prefix(topic) else {
            continue;
        };
        let answer = serde_json::from_slice(&message.payload);
        let answer = answer.map_err(|_| format!("the answer on {topic} is not JSON"));
        match (kind, answer) {
            ("/accepted", Ok(answer)) => match take(&answer) {
                Ok(taken) => return Ok(taken),
                Err(why) => said = printable(&why),
            },
            ("/rejected", Ok(answer)) => return Err(rejected(&answer)),
            (_, Err(why)) => said = why,
            _ => {}
        }
    }
}

/// `{"statusCode": …, "errorCode": …, "errorMessage": …}`
fn rejected(answer: &Value) -> Trouble {
    let status = answer["statusCode"].as_u64().unwrap_or(0);
    let code = answer["errorCode"].as_str().unwrap_or("without a code");
    let message = answer["errorMessage"]
        .as_str()
        .unwrap_or("without a message");
    let short: String = printable(message).chars().take(300).collect();
    let words = format!("the cloud refused: {} ({status}): {short}", printable(code));
    match status {
        _ if code == "InvalidCertificateOwnershipToken" => Trouble::StaleToken,
        403 => Trouble::Denied(words),
        400..=428 | 430..=499 => Trouble::Refused(words),
        _ => Trouble::Passing(words),
    }
}

fn text<'a>(answer: &'a Value, field: &str) -> Result<&'a str, String> {
    answer[field]
        .as_str()
        .ok_or_else(|| format!("the answer has no {field}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_told_apart() {
        let answer = |status: u64, code: &str| {
            rejected(
                &json!({"statusCode": status, "errorCode": code, "errorMessage": "x\u{1b}[2J"}),
            )
        };
        assert!(matches!(answer(403, "AccessDenied"), Trouble::Denied(_)));
        assert!(matches!(answer(404, "NotFound"), Trouble::Refused(_)));
        assert!(matches!(
            answer(400, "InvalidCertificateOwnershipToken"),
            Trouble::StaleToken
        ));
        assert!(matches!(
            answer(429, "TooManyRequests"),
            Trouble::Passing(_)
        ));
        assert!(matches!(answer(500, "InternalError"), Trouble::Passing(_)));
        assert!(matches!(rejected(&json!([])), Trouble::Passing(_)));
        assert!(!answer(403, "a\nb").to_string().contains(['\u{1b}', '\n']));
    }
}
