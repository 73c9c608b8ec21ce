//! One attempt, from whatever state a cut has left to a committed identity.

use std::fmt;
use std::time::{Duration, Instant};

use edge_common::exit::Failure;
use edge_common::mqtt::{CaBundle, ConnectError, ConnectErrorKind, Event, Options, Session};
use edge_common::{Root, log};
use openssl::pkey::{PKey, Private};

use crate::claim::Claim;
use crate::device::Identity;
use crate::exchange::{self, Proof};
use crate::state::{Pending, Place};
use crate::{NETWORK, REFUSED, TLS, pki, state};

/// Limit of each step on the network.
pub const STEP: Duration = Duration::from_secs(10);
/// Limit of a question to the thing's shadow.
const SHADOW: Duration = Duration::from_secs(3);
/// Base of the back-off.
pub const FIRST_PAUSE: Duration = Duration::from_secs(2);
/// Longest pause between two attempts.
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// Why an attempt did not succeed.
#[derive(Debug)]
pub enum Trouble {
    /// The cloud answered no, for good.
    Refused(String),
    /// Its hook does not want this device, or not without a proof.
    Denied(String),
    /// The ownership token is not taken: a new certificate is needed.
    StaleToken,
    /// One side does not trust the other.
    Tls(String),
    /// Silence, throttling: worth another attempt on the same connection.
    Passing(String),
    /// No connection, or none any more: worth another attempt on a new one.
    Lost(String),
    /// This device itself: disk, OpenSSL.
    Local(anyhow::Error),
}

impl From<anyhow::Error> for Trouble {
    fn from(error: anyhow::Error) -> Self {
        match error.downcast_ref::<ConnectError>().map(|e| e.kind) {
            Some(ConnectErrorKind::Rejected) => Self::Refused(format!("{error:#}")),
            Some(ConnectErrorKind::Tls) => Self::Tls(format!("{error:#}")),
            Some(ConnectErrorKind::Network) => Self::Lost(format!("{error:#}")),
            None => Self::Local(error),
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(why)
            | Self::Denied(why)
            | Self::Tls(why)
            | Self::Passing(why)
            | Self::Lost(why) => f.write_str(why),
            Self::StaleToken => f.write_str("the ownership token is no longer taken"),
            Self::Local(error) => write!(f, "{error:#}"),
        }
    }
}

impl Trouble {
    /// Would another attempt end the same way?
    pub fn is_final(&self) -> bool {
        !matches!(self, Self::StaleToken | Self::Passing(_) | Self::Lost(_))
    }

    /// With its exit code.
    pub fn into_failure(self) -> anyhow::Error {
        match self {
            Self::Refused(_) | Self::Denied(_) => Failure::error(REFUSED, self),
            Self::Tls(_) => Failure::error(TLS, self),
            Self::StaleToken | Self::Passing(_) | Self::Lost(_) => Failure::error(NETWORK, self),
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
    /// Which identity is made.
    pub place: Place,
    /// This device.
    pub thing: &'a Identity,
    /// The claim of the image.
    pub claim: &'a Claim,
    /// The key of that identity.
    pub key: &'a PKey<Private>,
    /// The key that the cloud knows, if there may be one.
    pub known: &'a PKey<Private>,
    /// CaBundle of the image.
    pub ca_bundle: &'a CaBundle,
    /// The claim's session, kept between attempts while it is up.
    pub session: Option<Session>,
}

impl Attempt<'_> {
    /// Attempts until it is done, final, or `end` is near.
    ///
    /// # Errors
    /// The last trouble; the state on disk is good for another run.
    pub fn persist(&mut self, end: Instant) -> Result<(), Trouble> {
        let mut pause = FIRST_PAUSE;
        loop {
            let Err(trouble) = self.run() else {
                return Ok(());
            };
            pause = next_pause(pause, pki::random_fraction()?);
            if trouble.is_final() || Instant::now() + pause >= end {
                return Err(trouble);
            }
            log::warn(format_args!(
                "{trouble}; trying again in {:.0} s",
                pause.as_secs_f32()
            ));
            std::thread::sleep(pause);
        }
    }

    /// Goes on from the state on disk to a committed identity.
    fn run(&mut self) -> Result<(), Trouble> {
        let pending = state::pending(self.root, self.place, self.key);
        let up = self.session.as_ref().is_some_and(Session::is_connected);
        if let Some(pending) = pending.as_ref().filter(|_| !up) {
            // The registration may have succeeded and only its answer been lost.
            state::show(self.root, self.place, pending)?;
            if self.speaks()? {
                return self.commit();
            }
        }
        let session = match self.session.take().filter(|_| up) {
            Some(session) => session,
            None => self.claim_session()?,
        };
        let registered = self.register(&session, pending);
        match registered {
            Ok(()) => session.close(),
            Err(Trouble::Lost(why)) => return Err(Trouble::Lost(why)),
            Err(other) => {
                self.session = Some(session);
                return Err(other);
            }
        }
        log::info(format_args!("registered {}", self.thing.name));
        self.check()?;
        self.commit()
    }

    fn claim_session(&self) -> Result<Session, Trouble> {
        let client_id = format!("prov-{}-{}", self.thing.serial, pki::random_word()?);
        let session = Session::connect(&Options {
            endpoint: &self.claim.endpoint,
            port: self.claim.port,
            proxy: self.claim.proxy.as_deref(),
            client_id: &client_id,
            certificate: self.claim.certificate.clone(),
            key: self.claim.key.clone(),
            ca_bundle: self.ca_bundle,
            timeout: STEP,
            will: None,
        })?;
        exchange::subscribe(&session, &self.claim.template)?;
        Ok(session)
    }

    /// Gets a certificate unless one is pending, and has it registered. A
    /// token that is no longer taken is replaced once, and a refusal answered
    /// once with the proof that we are who we were.
    fn register(&self, session: &Session, pending: Option<Pending>) -> Result<(), Trouble> {
        let mut pending = pending.filter(Pending::fresh);
        let mut proof = (self.place == Place::Next).then_some(Proof(self.known));
        let mut renewed = pending.is_none();
        loop {
            let current = match pending.take() {
                Some(pending) => pending,
                None => {
                    let fresh = exchange::certificate(session, self.key, &self.thing.name)?;
                    state::keep(self.root, self.place, &fresh)?;
                    fresh
                }
            };
            let template = &self.claim.template;
            let token = &current.token;
            match exchange::register(session, template, self.thing, token, proof, self.key) {
                Err(Trouble::StaleToken) if !renewed => {
                    if self.speaks()? {
                        return Ok(());
                    }
                    state::forget(self.root, self.place)?;
                    renewed = true;
                }
                Err(Trouble::Denied(_)) if proof.is_none() => {
                    proof = Some(Proof(self.known));
                    pending = Some(current);
                }
                other => return other,
            }
        }
    }

    /// Connects as the new identity.
    fn open(&self) -> anyhow::Result<Session> {
        Session::connect(&Options {
            endpoint: &self.claim.endpoint,
            port: self.claim.port,
            proxy: self.claim.proxy.as_deref(),
            client_id: &self.thing.name,
            certificate: self.place.certificate(self.root),
            key: self.place.key(self.root),
            ca_bundle: self.ca_bundle,
            timeout: STEP,
            will: None,
        })
    }

    /// Connects as the new identity and listens on a topic of its own.
    fn check(&self) -> Result<(), Trouble> {
        let topic = format!("$aws/things/{}/shadow/get/accepted", self.thing.name);
        let session = self.open()?;
        let listened = session.subscribe(&[&topic]);
        session.close();
        listened.map_err(|e| Trouble::Lost(format!("checking the new identity: {e:#}")))
    }

    /// Does the cloud already let the pending identity speak for its thing? A
    /// broker may let it connect and listen without that, so it has to get an
    /// answer.
    fn speaks(&self) -> Result<bool, Trouble> {
        let topic = format!("$aws/things/{}/shadow/get", self.thing.name);
        let session = match self.open() {
            Ok(session) => session,
            Err(error) => {
                let error_of = error.downcast_ref::<ConnectError>();
                let unreached = error_of.is_some_and(|e| !e.reached);
                return if unreached {
                    Err(error.into())
                } else {
                    Ok(false)
                };
            }
        };
        let answers = format!("{topic}/+");
        let asked = session.subscribe(&[&answers]).is_ok() && session.publish(&topic, "{}").is_ok();
        let answered = asked && matches!(session.receive(SHADOW), Event::Message(_));
        session.close();
        Ok(answered)
    }

    fn commit(&self) -> Result<(), Trouble> {
        state::commit(self.root, self.place, self.thing, self.claim)?;
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
