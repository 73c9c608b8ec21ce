//! Attempt to obtain an identity from AWS IoT. It continues from any state on disk that
//! an interruption has left, up to a committed identity.

use std::time::{Duration, Instant};

use edge_common::backoff::Backoff;
use edge_common::mqtt::{CaBundle, ConnectError, Event, Options, Session};
use edge_common::{Root, known_time, log};
use openssl::pkey::{PKey, Private};
use serde_json::Value;

use crate::claim::Claim;
use crate::device::Device;
use crate::error::AttemptError;
use crate::fleet_provisioning::{self, ProofOfPossession, STEP_LIMIT};
use crate::store::{Location, PendingCertificate};
use crate::{pki, store};

/// Time limit for the answer of the shadow, which shows whether a certificate is
/// registered.
const SHADOW_LIMIT: Duration = Duration::from_secs(3);
/// Shortest and longest pause between two attempts. AWS serves ten provisionings per
/// second and account, so without growing random pauses a large fleet would never
/// finish.
const PAUSES: (Duration, Duration) = (Duration::from_secs(2), Duration::from_secs(300));

/// Inputs of all attempts of a run, and the session that the next attempt reuses.
pub(crate) struct Attempt<'a> {
    /// Root directory of the device's files.
    pub root: &'a Root,
    /// Directory of the identity to be created: the one in use, or during a renewal the
    /// next one.
    pub location: Location,
    /// Serial number, thing name and hardware address of the device to be registered.
    pub device: &'a Device,
    /// Claim certificate of the device image, its key, and the endpoint.
    pub claim: &'a Claim,
    /// Private key of the identity to be created.
    pub key: &'a PKey<Private>,
    /// Private key whose certificate the cloud may already have registered for this
    /// device.
    pub known_key: &'a PKey<Private>,
    /// CA certificates with which the certificate of the cloud is verified.
    pub ca_bundle: &'a CaBundle,
    /// MQTT session with the claim certificate. It is kept between attempts, because a
    /// device that is throttled would otherwise use up the quota of connections as
    /// well.
    pub session: Option<Session>,
}

impl Attempt<'_> {
    /// Repeats attempts until one succeeds, an error is final, or the next pause would
    /// reach `end`. After an error another run can continue from the state on disk.
    pub(crate) fn persist(&mut self, end: Instant) -> Result<(), AttemptError> {
        let mut backoff = Backoff::new(PAUSES.0, PAUSES.1);
        loop {
            let Err(error) = self.run() else {
                return Ok(());
            };
            let pause = backoff.next_pause();
            if error.is_final() || Instant::now() + pause >= end {
                return Err(error);
            }
            log::warn(format_args!(
                "{error}; trying again in {:.0} s",
                pause.as_secs_f32()
            ));
            match &self.session {
                Some(session) => session.idle(pause),
                None => std::thread::sleep(pause),
            }
        }
    }

    /// Performs one attempt, from the state on disk to a committed identity.
    fn run(&mut self) -> Result<(), AttemptError> {
        let pending = store::load_pending(self.root, self.location, self.key);
        let connected = self.session.as_ref().is_some_and(Session::is_connected);
        if let Some(pending) = pending.as_ref().filter(|_| !connected) {
            // The registration may have succeeded although its answer was lost. Another
            // registration would then be rejected, because the device has an active
            // certificate.
            store::write_certificate(self.root, self.location, pending)?;
            if self.is_registered()? {
                return self.commit();
            }
        }
        let session = match self.session.take().filter(|_| connected) {
            Some(session) => session,
            None => self.claim_session()?,
        };
        let registered = self.register(&session, pending);
        match registered {
            Ok(()) => session.close(),
            Err(AttemptError::Disconnected(message)) => {
                return Err(AttemptError::Disconnected(message));
            }
            Err(other) => {
                self.session = Some(session);
                return Err(other);
            }
        }
        log::info(format_args!("registered {}", self.device.thing_name));
        self.verify()?;
        self.commit()
    }

    fn claim_session(&self) -> Result<Session, AttemptError> {
        // The client ID is random instead of the thing name: AWS accepts a connection
        // with the same ID only every few seconds, and the verification right after
        // this session needs the thing name.
        let client_id = format!("prov-{}-{}", self.device.serial, pki::random_hex()?);
        let session = Session::connect(&Options {
            endpoint: &self.claim.endpoint,
            port: self.claim.port,
            proxy: self.claim.proxy.as_deref(),
            client_id: &client_id,
            certificate: self.claim.certificate.clone(),
            key: self.claim.key.clone(),
            ca_bundle: self.ca_bundle,
            timeout: STEP_LIMIT,
            will: None,
        })?;
        fleet_provisioning::subscribe(&session, &self.claim.template)?;
        Ok(session)
    }

    /// Requests a certificate unless a fresh one is pending, and registers the thing
    /// with it. If the ownership token has expired, a new certificate is requested
    /// once; if the cloud denies the device, the registration is repeated once with a
    /// proof of possession.
    fn register(
        &self,
        session: &Session,
        pending: Option<PendingCertificate>,
    ) -> Result<(), AttemptError> {
        let mut pending = pending.filter(PendingCertificate::is_fresh);
        let mut proof =
            (self.location == Location::Next).then_some(ProofOfPossession(self.known_key));
        let mut renewed = pending.is_none();
        loop {
            let current = match pending.take() {
                Some(pending) => pending,
                None => {
                    let name = &self.device.thing_name;
                    let fresh = fleet_provisioning::request_certificate(session, self.key, name)?;
                    store::save_pending(self.root, self.location, &fresh)?;
                    self.note_time(&fresh);
                    fresh
                }
            };
            match fleet_provisioning::register(
                session,
                &self.claim.template,
                self.device,
                &current.token,
                proof,
                self.key,
            ) {
                Err(AttemptError::ExpiredToken) if !renewed => {
                    // The token may be used up, because an earlier registration
                    // succeeded and its answer was lost.
                    if self.is_registered()? {
                        return Ok(());
                    }
                    store::remove_pending(self.root, self.location)?;
                    renewed = true;
                }
                // Only after a denial: the first registration of a device has no key
                // that the cloud could compare.
                Err(AttemptError::Denied(_)) if proof.is_none() => {
                    proof = Some(ProofOfPossession(self.known_key));
                    pending = Some(current);
                }
                other => return other,
            }
        }
    }

    /// Notes the start of a certificate that the cloud has just issued as a time that
    /// has certainly passed, whatever the clock says.
    fn note_time(&self, issued: &PendingCertificate) {
        let begin = pki::certificate(issued.certificate.as_bytes());
        let begin = begin.and_then(|certificate| pki::unix(certificate.not_before()));
        let noted = begin.and_then(|begin| known_time::note_cloud(self.root, begin));
        if let Err(error) = noted {
            log::warn(format_args!("{error:#}"));
        }
    }

    /// Opens an MQTT session with the key and the certificate of the new identity.
    fn connect(&self) -> anyhow::Result<Session> {
        Session::connect(&Options {
            endpoint: &self.claim.endpoint,
            port: self.claim.port,
            proxy: self.claim.proxy.as_deref(),
            client_id: &self.device.thing_name,
            certificate: self.location.certificate(self.root),
            key: self.location.key(self.root),
            ca_bundle: self.ca_bundle,
            timeout: STEP_LIMIT,
            will: None,
        })
    }

    /// Checks before the commit that the new identity works: connects with it and
    /// subscribes to a shadow topic of the thing.
    fn verify(&self) -> Result<(), AttemptError> {
        let topic = format!("$aws/things/{}/shadow/get/accepted", self.device.thing_name);
        let session = self.connect()?;
        let subscribed = session.subscribe(&[&topic]);
        session.close();
        subscribed
            .map_err(|e| AttemptError::Disconnected(format!("verifying the new identity: {e:#}")))
    }

    /// Returns whether the pending certificate is already registered. Only an answer of
    /// the shadow proves this, because a broker may accept connection and subscription
    /// of a certificate before its registration.
    fn is_registered(&self) -> Result<bool, AttemptError> {
        let topic = format!("$aws/things/{}/shadow/get", self.device.thing_name);
        let session = match self.connect() {
            Ok(session) => session,
            Err(error) => {
                let connect_error = error.downcast_ref::<ConnectError>();
                let unreached = connect_error.is_some_and(|e| !e.reached);
                return if unreached {
                    Err(error.into())
                } else {
                    Ok(false)
                };
            }
        };
        let answers = format!("{topic}/+");
        let requested =
            session.subscribe(&[&answers]).is_ok() && session.publish(&topic, "{}").is_ok();
        let registered = requested
            && match session.receive(SHADOW_LIMIT) {
                Event::Message(message) => !denied(&message.payload),
                Event::Timeout | Event::Disconnected => false,
            };
        session.close();
        Ok(registered)
    }

    fn commit(&self) -> Result<(), AttemptError> {
        store::commit(self.root, self.location, self.device, self.claim)?;
        Ok(())
    }
}

/// Returns whether an answer of the shadow denies the access. Every other rejection, for
/// example of a shadow that does not exist, comes from the thing's own shadow.
fn denied(answer: &[u8]) -> bool {
    let answer: Value = serde_json::from_slice(answer).unwrap_or_default();
    matches!(answer["code"].as_u64(), Some(401 | 403))
}
