//! One attempt, from whatever state a cut has left to a committed identity.

use std::fmt;
use std::time::Duration;

use anyhow::anyhow;
use edge_common::exit::Failure;
use edge_common::identity::{CERTIFICATE, KEY};
use edge_common::mqtt::{self, Authorities, ConnectError, Options, Session};
use edge_common::{Root, log};
use openssl::pkey::{PKey, Private};

use crate::claim::Claim;
use crate::device::Identity;
use crate::state::Pending;
use crate::{NETWORK, REFUSED, TLS, exchange, pki, state};

/// Limit of each step on the network.
pub const STEP: Duration = Duration::from_secs(10);
/// Base of the back-off.
pub const FIRST_PAUSE: Duration = Duration::from_secs(2);
/// Longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// Why an attempt did not succeed.
#[derive(Debug)]
pub enum Trouble {
    /// The cloud answered no, for good.
    Refused(String),
    /// The ownership token is not taken: a new certificate is needed.
    StaleToken,
    /// One side does not trust the other.
    Tls(String),
    /// Network, silence, throttling: worth another attempt.
    Passing(String),
    /// This device itself: disk, OpenSSL.
    Local(anyhow::Error),
}

impl From<anyhow::Error> for Trouble {
    fn from(error: anyhow::Error) -> Self {
        match error.downcast_ref::<ConnectError>().map(|e| e.trouble) {
            Some(mqtt::Trouble::Refused) => Self::Refused(format!("{error:#}")),
            Some(mqtt::Trouble::Tls) => Self::Tls(format!("{error:#}")),
            Some(mqtt::Trouble::Network) => Self::Passing(format!("{error:#}")),
            None => Self::Local(error),
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(why) | Self::Tls(why) | Self::Passing(why) => f.write_str(why),
            Self::StaleToken => f.write_str("the ownership token is no longer taken"),
            Self::Local(error) => write!(f, "{error:#}"),
        }
    }
}

impl Trouble {
    /// Would another attempt end the same way?
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Refused(_) | Self::Tls(_) | Self::Local(_))
    }

    /// With its exit code.
    pub fn into_failure(self) -> anyhow::Error {
        match self {
            Self::Refused(_) => Failure::error(REFUSED, self),
            Self::Tls(_) => Failure::error(TLS, self),
            Self::StaleToken | Self::Passing(_) => Failure::error(NETWORK, self),
            Self::Local(error) => error,
        }
    }
}

/// Decorrelated jitter: a pause between the base and three times the last one.
pub fn next_pause(last: Duration, fraction: f64) -> Duration {
    let spread = (last * 3).saturating_sub(FIRST_PAUSE);
    (FIRST_PAUSE + spread.mul_f64(fraction)).min(LONGEST_PAUSE)
}

/// What every attempt works with.
pub struct Attempt<'a> {
    /// Root of the file system.
    pub root: &'a Root,
    /// This device.
    pub thing: &'a Identity,
    /// The claim of the image.
    pub claim: &'a Claim,
    /// The device's key.
    pub key: &'a PKey<Private>,
    /// Authorities of the image.
    pub authorities: &'a Authorities,
}

impl Attempt<'_> {
    /// Goes on from the state on disk.
    ///
    /// # Errors
    /// What went wrong; the state on disk is good for another attempt.
    pub fn run(&self) -> Result<(), Trouble> {
        let pending = state::pending(self.root, self.key);
        // The registration may have succeeded and only its answer been lost.
        if pending.is_some() && self.check().is_ok() {
            return self.commit();
        }
        let session = self.claim_session()?;
        match self.register(&session, pending) {
            Err(Trouble::StaleToken) => {
                state::forget(self.root)?;
                self.register(&session, None)?;
            }
            other => other?,
        }
        session.close();
        self.check()?;
        self.commit()
    }

    fn claim_session(&self) -> Result<Session, Trouble> {
        let client_id = format!("prov-{}-{}", self.thing.serial, pki::random_word()?);
        let session = Session::connect(&Options {
            endpoint: &self.claim.endpoint,
            port: self.claim.port,
            client_id: &client_id,
            certificate: self.claim.certificate.clone(),
            key: self.claim.key.clone(),
            authorities: self.authorities,
            timeout: STEP,
            will: None,
        })?;
        exchange::subscribe(&session, &self.claim.template)?;
        Ok(session)
    }

    fn register(&self, session: &Session, pending: Option<Pending>) -> Result<(), Trouble> {
        let pending = match pending.filter(Pending::fresh) {
            Some(pending) => pending,
            None => {
                let pending = exchange::certificate(session, self.key, &self.thing.name)?;
                state::keep(self.root, &pending)?;
                pending
            }
        };
        exchange::register(session, &self.claim.template, self.thing, &pending.token)
    }

    /// Connects as the new identity and listens on a topic of its own.
    fn check(&self) -> Result<(), Trouble> {
        let session = Session::connect(&Options {
            endpoint: &self.claim.endpoint,
            port: self.claim.port,
            client_id: &self.thing.name,
            certificate: self.root.path(CERTIFICATE),
            key: self.root.path(KEY),
            authorities: self.authorities,
            timeout: STEP,
            will: None,
        })?;
        let topic = format!("$aws/things/{}/shadow/get/accepted", self.thing.name);
        let listened = session.subscribe(&[&topic]);
        session.close();
        listened.map_err(|e| Trouble::Passing(format!("checking the new identity: {e:#}")))
    }

    fn commit(&self) -> Result<(), Trouble> {
        state::commit(self.root, self.thing, self.claim)?;
        state::committed(self.root, &self.thing.name)
            .map_err(|e| Trouble::Local(anyhow!("what was committed is not good: {e:#}")))?;
        log::info(format_args!("provisioned as {}", self.thing.name));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_stay_between_base_and_cap() {
        assert_eq!(next_pause(FIRST_PAUSE, 0.0), FIRST_PAUSE);
        assert_eq!(next_pause(FIRST_PAUSE, 1.0), Duration::from_secs(6));
        assert_eq!(next_pause(LONGEST_PAUSE, 1.0), LONGEST_PAUSE);
    }
}
