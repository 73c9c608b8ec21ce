//! Script of faults: each with a stage of provisioning, a kind and a count.

use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Error, Result, bail};
use openssl::ec::{EcGroup, EcKey};
use openssl::nid::Nid;
use openssl::pkey::PKey;
use serde_json::{Value, json};

use crate::cloud::pki;

/// Stage at which a fault occurs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// CONNECT.
    Connect,
    /// Request for a certificate.
    Create,
    /// Registration of the thing.
    Register,
}

/// Kind of a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Rejected with 403.
    Refused,
    /// Rejected with 429.
    Throttled,
    /// Rejected with 500.
    Broken,
    /// Not executed, no answer.
    Silent,
    /// Answered after a delay.
    Late(Duration),
    /// Not executed, the connection is closed.
    Dropped,
    /// Executed, the connection is closed instead of an answer.
    Lost,
    /// Answered, then the connection is closed.
    Cut,
    /// Answered twice.
    Twice,
    /// The answer is not JSON.
    Malformed,
    /// The answer is 200 kB large.
    Oversized,
    /// The answer lacks the required fields.
    Incomplete,
    /// The certificate is of another key.
    OtherKey,
    /// The certificate expired yesterday.
    Over,
    /// The answer names another thing.
    OtherThing,
    /// All ownership tokens have expired.
    Expired,
}

/// A line of the script, as `create:silent` or `register:late=3000*2`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// Stage at which it occurs.
    pub(crate) stage: Stage,
    /// Kind.
    pub(crate) kind: Kind,
    /// Number of requests that it affects, from the first.
    pub(crate) times: usize,
}

impl FromStr for Fault {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (stage, rest) = text
            .split_once(':')
            .context("a fault must be STAGE:KIND[*TIMES]")?;
        let stage = match stage {
            "connect" => Stage::Connect,
            "create" => Stage::Create,
            "register" => Stage::Register,
            _ => bail!("{stage} is none of connect, create, register"),
        };
        let (kind, times) = match rest.split_once('*') {
            Some((kind, times)) => (
                kind,
                times
                    .parse()
                    .with_context(|| format!("{times} is not a number"))?,
            ),
            None => (rest, usize::MAX),
        };
        let kind = match kind.split_once('=') {
            Some(("late", ms)) => Kind::Late(Duration::from_millis(
                ms.parse()
                    .with_context(|| format!("{ms} is not a number"))?,
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
        _ => bail!("unknown kind of fault: {kind}"),
    })
}

/// Faults that are still to occur.
#[derive(Debug, Default)]
pub(crate) struct Script(Vec<Fault>);

impl Script {
    /// Returns a script of these lines.
    pub(crate) fn new(faults: &[Fault]) -> Self {
        Self(faults.to_vec())
    }

    /// Returns the fault of the next request at `stage`, if any, and counts it.
    pub(crate) fn next(&mut self, stage: Stage) -> Option<Kind> {
        let fault = self
            .0
            .iter_mut()
            .find(|f| f.stage == stage && f.times > 0)?;
        fault.times -= usize::from(fault.times != usize::MAX);
        Some(fault.kind)
    }
}

/// Returns status, code and message if the fault is a rejection.
pub(crate) fn rejection(kind: Kind) -> Option<(u16, &'static str, &'static str)> {
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

/// Returns a correct answer with the fault applied.
pub(crate) fn spoil(kind: Kind, answer: &Value, authority: &pki::Authority) -> Result<Vec<u8>> {
    let mut answer = answer.clone();
    match kind {
        Kind::Malformed => return Ok(br#"{"certificateId": "#.to_vec()),
        Kind::Oversized => answer["padding"] = "x".repeat(200_000).into(),
        Kind::Incomplete => answer = json!({ "certificateId": "0", "unknown": 1 }),
        Kind::OtherThing => answer["thingName"] = "edge-ai-other".into(),
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
            let pem = authority.sign_for("other", &key, days)?.to_pem()?;
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
    fn scripts_are_parsed_and_consumed() {
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
