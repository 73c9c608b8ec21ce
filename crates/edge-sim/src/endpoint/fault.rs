//! Scripted faults of the strict endpoint: each has a stage of provisioning, a kind
//! and a count.

use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Error, Result, bail};
use openssl::ec::{EcGroup, EcKey};
use openssl::nid::Nid;
use openssl::pkey::PKey;
use serde_json::{Value, json};

use super::published;
use crate::cloud::pki;

/// Stage of provisioning at which a fault occurs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// MQTT connection (CONNECT).
    Connect,
    /// Request for a certificate (`CreateCertificateFromCsr`).
    Create,
    /// Registration of the thing (`RegisterThing`).
    Register,
    /// Request to a device shadow.
    Shadow,
    /// Request for the pending executions of jobs.
    JobsList,
    /// Request for one execution of a job.
    JobsDescribe,
    /// Change of an execution of a job.
    JobsUpdate,
    /// Notification about jobs.
    JobsNotify,
    /// Request of an operator about jobs or thing groups.
    Control,
}

const STAGES: [(&str, Stage); 9] = [
    ("connect", Stage::Connect),
    ("create", Stage::Create),
    ("register", Stage::Register),
    ("shadow", Stage::Shadow),
    ("jobs-list", Stage::JobsList),
    ("jobs-describe", Stage::JobsDescribe),
    ("jobs-update", Stage::JobsUpdate),
    ("jobs-notify", Stage::JobsNotify),
    ("control", Stage::Control),
];

/// Reaction of the endpoint to a request that a fault affects.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The request is rejected with this status and error code.
    Rejected(u16, &'static str),
    /// CONNECT is answered with this return code, and the connection is closed.
    Return(u8),
    /// The request is rejected with status 403, CONNECT with return code 5.
    Refused,
    /// The request is rejected with status 429, as above a quota.
    Throttled,
    /// The request is rejected with status 500.
    Broken,
    /// The request is not executed and not answered.
    Silent,
    /// The request is answered after this delay.
    Late(Duration),
    /// The request is not executed, and the connection is closed.
    Dropped,
    /// The request is executed, then the connection is closed without an answer.
    Lost,
    /// The request is answered, then the connection is closed.
    Cut,
    /// The request is executed once and answered twice.
    Twice,
    /// The answer is not JSON.
    Malformed,
    /// The answer has 200 kB of additional padding.
    Oversized,
    /// The answer lacks the required fields.
    Incomplete,
    /// The certificate in the answer is for another public key.
    OtherKey,
    /// The certificate in the answer expired yesterday.
    Over,
    /// The answer names another thing.
    OtherThing,
    /// All ownership tokens expire before the request is executed.
    Expired,
    /// The list of executions lacks the newest one.
    Stale,
    /// The execution is not found.
    Gone,
    /// The message has wrong types, and a document that is a thousand levels deep.
    Hostile,
    /// The request about jobs is rejected with this code.
    Code(&'static str),
}

/// Scripted fault in the form `STAGE:KIND[*TIMES]`, for example `create:silent` or
/// `register:late=3000*2`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fault {
    /// Stage of provisioning at which the fault occurs.
    pub(crate) stage: Stage,
    /// Reaction of the endpoint to the request.
    pub(crate) kind: Kind,
    /// Number of requests that the fault still affects; without TIMES it affects
    /// all.
    pub(crate) times: usize,
}

impl FromStr for Fault {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (stage, rest) = text
            .split_once(':')
            .context("a fault must be STAGE:KIND[*TIMES]")?;
        let known = STAGES.iter().find(|(name, _)| *name == stage);
        let (_, stage) = known.with_context(|| {
            let names = STAGES.map(|(name, _)| name).join(", ");
            format!("{stage} is none of {names}")
        })?;
        let stage = *stage;
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
            Some((name, value)) => with_value(name, value)?,
            None => named(kind)?,
        };
        if !occurs(stage, kind) {
            bail!("{rest} does not occur at this stage: {text}");
        }
        Ok(Self { stage, kind, times })
    }
}

/// Returns whether a kind of fault can occur at a stage.
fn occurs(stage: Stage, kind: Kind) -> bool {
    use Kind::{
        Broken, Code, Cut, Dropped, Gone, Hostile, Incomplete, Late, Lost, Malformed, Oversized,
        Silent, Stale, Throttled, Twice,
    };
    let special = matches!(kind, Stale | Gone | Hostile | Code(_));
    let common = matches!(
        kind,
        Silent | Late(_) | Dropped | Lost | Throttled | Broken | Malformed
    );
    let spoiled = matches!(
        kind,
        Cut | Twice | Oversized | Incomplete | Hostile | Code(_)
    );
    match stage {
        Stage::Connect | Stage::Create | Stage::Register | Stage::Shadow => !special,
        Stage::JobsList => common || spoiled || kind == Stale,
        Stage::JobsDescribe | Stage::JobsUpdate => common || spoiled || kind == Gone,
        Stage::JobsNotify => matches!(
            kind,
            Silent | Twice | Malformed | Oversized | Incomplete | Hostile
        ),
        Stage::Control => common,
    }
}

/// Parses a kind of the form `NAME=VALUE`.
fn with_value(name: &str, value: &str) -> Result<Kind> {
    let invalid = || format!("{value} is not a number");
    Ok(match name {
        "late" => Kind::Late(Duration::from_millis(value.parse().with_context(invalid)?)),
        "return" => Kind::Return(value.parse().with_context(invalid)?),
        "code" => {
            let known = published::JOBS.iter().find(|code| **code == value);
            Kind::Code(known.with_context(|| format!("{value} is not a published code"))?)
        }
        "rejected" => {
            let (status, code) = value.split_once('/').unwrap_or((value, ""));
            let status = status.parse().with_context(invalid)?;
            if code.is_empty() {
                return Ok(Kind::Rejected(status, ""));
            }
            let (status, code) = published::provisioning(status, code)
                .with_context(|| format!("{value} is not a published rejection"))?;
            Kind::Rejected(status, code)
        }
        _ => bail!("unknown kind of fault: {name}"),
    })
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
        "stale" => Kind::Stale,
        "gone" => Kind::Gone,
        "hostile" => Kind::Hostile,
        _ => bail!("unknown kind of fault: {kind}"),
    })
}

/// Faults that are still to occur, the next one of each stage first.
#[derive(Debug, Default)]
pub(crate) struct Script(Vec<Fault>);

impl Script {
    /// Creates a script that plays `faults` in their order.
    pub(crate) fn new(faults: &[Fault]) -> Self {
        Self(faults.to_vec())
    }

    /// Returns the fault of the next request at `stage`, if any, and counts this
    /// request.
    pub(crate) fn next(&mut self, stage: Stage) -> Option<Kind> {
        let fault = self
            .0
            .iter_mut()
            .find(|f| f.stage == stage && f.times > 0)?;
        fault.times -= usize::from(fault.times != usize::MAX);
        Some(fault.kind)
    }
}

/// Returns status, error code and message if the fault is a rejection, else `None`.
pub(crate) fn rejection(kind: Kind) -> Option<(u16, &'static str, &'static str)> {
    Some(match kind {
        Kind::Refused => (
            403,
            "AccessDenied",
            "The pre-provisioning hook refused the device",
        ),
        Kind::Throttled => (429, "ThrottlingException", "Rate exceeded"),
        Kind::Broken => (500, "InternalServerError", "Internal error"),
        Kind::Rejected(status, code) => (status, code, "As the script of faults says"),
        _ => return None,
    })
}

/// Applies a fault to a correct answer and returns the payload to publish. Faults
/// that do not change the answer return it unchanged.
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
        let throttled: Fault = "create:rejected=400/Throttling".parse().unwrap();
        assert_eq!(throttled.kind, Kind::Rejected(400, "Throttling"));
        for bad in [
            "",
            "create",
            "create:x",
            "x:silent",
            "create:late=x",
            "create:silent*x",
            "create:rejected=x/Throttling",
            "create:rejected=400/Unknown",
            "create:stale",
            "jobs-list:gone",
            "jobs-notify:lost",
            "jobs-update:code=Unknown",
            "control:cut",
        ] {
            assert!(bad.parse::<Fault>().is_err(), "{bad}");
        }
    }
}
