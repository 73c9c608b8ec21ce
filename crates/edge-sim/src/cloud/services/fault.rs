//! Scripted faults of the services that devices call over HTTPS.

use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Error, Result, bail};

/// Service at which a fault occurs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    /// Credentials provider of AWS IoT.
    Credentials,
    /// API of ECR.
    Ecr,
}

/// Reaction of a service to a request that a fault affects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// The request is refused with this status and error type.
    Error(u16, String),
    /// The request is not answered.
    Silent,
    /// The request is answered after this delay.
    Late(Duration),
    /// The connection is closed without an answer.
    Dropped,
    /// The connection is closed in the middle of the answer.
    Truncated,
    /// The answer has 2 MB of additional padding.
    Oversized,
    /// The answer has header lines without an end.
    Endless,
    /// The answer is not JSON.
    Malformed,
    /// The answer lacks the required fields.
    Incomplete,
    /// The answer redirects to another server.
    Redirect,
    /// The answer comes byte by byte, with this pause before each.
    Slow(Duration),
    /// The clock of the service is this many seconds ahead.
    Ahead(u64),
    /// The credentials are valid for this many seconds.
    Life(u64),
}

/// Scripted fault in the form `SERVICE:KIND[*TIMES]`, for example `ecr:late=3000*2`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceFault {
    pub(crate) service: Service,
    pub(crate) kind: Kind,
    /// Number of requests that the fault still affects; without TIMES it affects all.
    pub(crate) times: usize,
}

impl FromStr for ServiceFault {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (service, rest) = text
            .split_once(':')
            .context("a fault must be SERVICE:KIND[*TIMES]")?;
        let service = match service {
            "credentials" => Service::Credentials,
            "ecr" => Service::Ecr,
            _ => bail!("{service} is neither credentials nor ecr"),
        };
        let (kind, times) = match rest.split_once('*') {
            Some((kind, times)) => {
                let invalid = || format!("{times} is not a number");
                (kind, times.parse().with_context(invalid)?)
            }
            None => (rest, usize::MAX),
        };
        let kind = match kind.split_once('=') {
            Some((name, value)) => with_value(name, value)?,
            None => named(kind)?,
        };
        if matches!(kind, Kind::Life(_)) && service == Service::Ecr {
            bail!("only credentials have a life: {text}");
        }
        Ok(Self {
            service,
            kind,
            times,
        })
    }
}

fn named(kind: &str) -> Result<Kind> {
    Ok(match kind {
        "silent" => Kind::Silent,
        "dropped" => Kind::Dropped,
        "truncated" => Kind::Truncated,
        "oversized" => Kind::Oversized,
        "endless" => Kind::Endless,
        "malformed" => Kind::Malformed,
        "incomplete" => Kind::Incomplete,
        "redirect" => Kind::Redirect,
        _ => bail!("unknown kind of fault: {kind}"),
    })
}

fn with_value(name: &str, value: &str) -> Result<Kind> {
    let number = |text: &str| {
        let invalid = format!("{text} is not a number");
        text.parse::<u64>().context(invalid)
    };
    Ok(match name {
        "late" => Kind::Late(Duration::from_millis(number(value)?)),
        "slow" => Kind::Slow(Duration::from_millis(number(value)?)),
        "ahead" => Kind::Ahead(number(value)?),
        "life" => Kind::Life(number(value)?),
        "error" => {
            let (status, code) = value.split_once('/').unwrap_or((value, ""));
            let status: u16 = status
                .parse()
                .with_context(|| format!("{status} is not a status"))?;
            if !(400..600).contains(&status) || !code.bytes().all(|b| b.is_ascii_alphabetic()) {
                bail!("{value} is not STATUS/CODE of an error");
            }
            Kind::Error(status, code.into())
        }
        _ => bail!("unknown kind of fault: {name}"),
    })
}

/// Faults that are still to occur, the next one of each service first.
#[derive(Debug, Default)]
pub(crate) struct Script(Vec<ServiceFault>);

impl Script {
    /// Creates a script that plays `faults` in their order.
    pub(crate) fn new(faults: &[ServiceFault]) -> Self {
        Self(faults.to_vec())
    }

    /// Returns the fault of the next request to a service, if any, and counts this request.
    pub(crate) fn next(&mut self, service: Service) -> Option<Kind> {
        let mut faults = self.0.iter_mut();
        let fault = faults.find(|fault| fault.service == service && fault.times > 0)?;
        fault.times -= usize::from(fault.times != usize::MAX);
        Some(fault.kind.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_are_parsed_and_consumed() {
        let faults: Result<Vec<ServiceFault>> = [
            "ecr:error=400/RequestExpired*1",
            "credentials:life=0*2",
            "ecr:late=20",
        ]
        .iter()
        .map(|text| text.parse())
        .collect();
        let mut script = Script::new(&faults.unwrap());
        let expired = Kind::Error(400, "RequestExpired".into());
        assert_eq!(script.next(Service::Ecr), Some(expired));
        for _ in 0..3 {
            let late = Kind::Late(Duration::from_millis(20));
            assert_eq!(script.next(Service::Ecr), Some(late));
        }
        let lives = [(); 3].map(|()| script.next(Service::Credentials));
        assert_eq!(lives, [Some(Kind::Life(0)), Some(Kind::Life(0)), None]);
        for wrong in [
            "",
            "ecr",
            "s3:silent",
            "ecr:x",
            "ecr:x=1",
            "ecr:late=x",
            "ecr:silent*x",
            "ecr:life=1",
            "ecr:error=200",
            "ecr:error=x",
            "ecr:error=400/a\r\nb",
        ] {
            assert!(wrong.parse::<ServiceFault>().is_err(), "{wrong}");
        }
    }
}
