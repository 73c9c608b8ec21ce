//! Scripted faults: what goes wrong, where, and how often.

use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Error, Result, bail};
use openssl::ec::{EcGroup, EcKey};
use openssl::nid::Nid;
use openssl::pkey::PKey;
use serde_json::{Value, json};

use crate::cloud::pki;

/// Where it goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// At CONNECT.
    Connect,
    /// At the request for a certificate.
    Create,
    /// At the registration of the thing.
    Register,
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Answered no.
    Refused,
    /// Answered 429.
    Throttled,
    /// Answered 500.
    Broken,
    /// Not answered; nothing is done.
    Silent,
    /// Answered late.
    Late(Duration),
    /// The connection is closed; nothing is done.
    Dropped,
    /// It is done, but the connection is closed instead of an answer.
    Lost,
    /// Answered, and the connection closed.
    Cut,
    /// Answered twice.
    Twice,
    /// The answer is not JSON.
    Malformed,
    /// The answer has 200 kB.
    Oversized,
    /// The answer lacks all that matters.
    Incomplete,
    /// The certificate is for another key.
    OtherKey,
    /// The certificate is over since yesterday.
    Over,
    /// Another thing is named.
    OtherThing,
    /// All tokens have expired.
    Expired,
}

/// One line of the script: `create:silent`, `register:late=3000*2`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// Where.
    pub stage: Stage,
    /// What.
    pub kind: Kind,
    /// How often, from the first time on.
    pub times: usize,
}

impl FromStr for Fault {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (stage, rest) = text
            .split_once(':')
            .context("a fault is STAGE:KIND[*TIMES]")?;
        let stage = match stage {
            "connect" => Stage::Connect,
            "create" => Stage::Create,
            "register" => Stage::Register,
            _ => bail!("the stages are connect, create and register"),
        };
        let (kind, times) = match rest.split_once('*') {
            Some((kind, times)) => (kind, times.parse().context("TIMES is a number")?),
            None => (rest, usize::MAX),
        };
        let kind = match kind.split_once('=') {
            Some(("late", ms)) => Kind::Late(Duration::from_millis(
                ms.parse().context("late=MILLISECONDS")?,
            )),
            _ => named(kind)?,
        };
        Ok(Self { stage, kind, times })
    }
}

fn named(kind: &str) -> Result<Kind> {
    Ok(match kind {
        "refused" => Kind::Refused,
        "throttled" => Kind::Throttled,
        "broken" => Kind::Broken,
        "silent" => Kind::Silent,
        "dropped" => Kind::Dropped,
        "lost" => Kind::Lost,
        "cut" => Kind::Cut,
        "twice" => Kind::Twice,
        "malformed" => Kind::Malformed,
        "oversized" => Kind::Oversized,
        "incomplete" => Kind::Incomplete,
        "other-key" => Kind::OtherKey,
        "over" => Kind::Over,
        "other-thing" => Kind::OtherThing,
        "expired" => Kind::Expired,
        _ => bail!("no such fault: {kind}"),
    })
}

/// The script, worn off as it is played.
#[derive(Debug, Default)]
pub struct Script(Vec<Fault>);

impl Script {
    /// A script of these lines.
    pub fn new(faults: &[Fault]) -> Self {
        Self(faults.to_vec())
    }

    /// What goes wrong this time.
    pub fn next(&mut self, stage: Stage) -> Option<Kind> {
        let fault = self
            .0
            .iter_mut()
            .find(|f| f.stage == stage && f.times > 0)?;
        fault.times -= usize::from(fault.times != usize::MAX);
        Some(fault.kind)
    }
}

/// The refusal of a fault that is one: status, code, message.
pub fn refusal(kind: Kind) -> Option<(u16, &'static str, &'static str)> {
    Some(match kind {
        Kind::Refused => (
            403,
            "AccessDenied",
            "The pre-provisioning hook refused the device",
        ),
        Kind::Throttled => (429, "ThrottlingException", "Rate exceeded"),
        Kind::Broken => (500, "InternalServerError", "Internal error"),
        _ => return None,
    })
}

/// What becomes of a good answer.
///
/// # Errors
/// OpenSSL's.
pub fn spoil(kind: Kind, answer: &Value, authority: &pki::Authority) -> Result<Vec<u8>> {
    let mut answer = answer.clone();
    match kind {
        Kind::Malformed => return Ok(br#"{"certificateId": "#.to_vec()),
        Kind::Oversized => answer["padding"] = "x".repeat(200_000).into(),
        Kind::Incomplete => answer = json!({ "certificateId": "0", "unknown": 1 }),
        Kind::OtherThing => answer["thingName"] = "edge-ai-somebody-else".into(),
        Kind::OtherKey | Kind::Over => {
            let pem = answer["certificatePem"].as_str().unwrap_or_default();
            let key = if kind == Kind::Over {
                openssl::x509::X509::from_pem(pem.as_bytes())?.public_key()?
            } else {
                let group = EcGroup::from_curve_name(Nid::X9_62_PRIME256V1)?;
                let key = PKey::from_ec_key(EcKey::generate(&group)?)?;
                PKey::public_key_from_der(&key.public_key_to_der()?)?
            };
            let days = if kind == Kind::Over { -1 } else { 3650 };
            let pem = authority.sign_for("somebody", &key, days)?.to_pem()?;
            answer["certificatePem"] = String::from_utf8(pem)?.into();
        }
        _ => {}
    }
    Ok(answer.to_string().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_are_read_and_wear_off() {
        let fault: Fault = "register:late=1500*2".parse().unwrap();
        let late = Kind::Late(Duration::from_millis(1500));
        assert_eq!(
            fault,
            Fault {
                stage: Stage::Register,
                kind: late,
                times: 2
            }
        );
        let mut script = Script::new(&[fault, "create:silent".parse().unwrap()]);
        assert_eq!(script.next(Stage::Connect), None);
        let played: Vec<_> = (0..3).map(|_| script.next(Stage::Register)).collect();
        assert_eq!(played, [Some(late), Some(late), None]);
        assert_eq!(script.next(Stage::Create), Some(Kind::Silent));
        for bad in [
            "",
            "create",
            "create:x",
            "x:silent",
            "create:late=x",
            "create:silent*x",
        ] {
            assert!(bad.parse::<Fault>().is_err(), "{bad}");
        }
    }
}
