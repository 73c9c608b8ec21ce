//! Login of the registry with the identity of the device: two requests, nothing on disk.
//!
//! The credentials provider of AWS IoT exchanges the client certificate for keys of an hour,
//! and the API of ECR these keys for a password. Both are asked again before the end.

use std::fmt;
use std::time::{Duration, Instant};

use edge_common::backoff::Backoff;
use edge_common::connect::{CaBundle, Identity};
use edge_common::https::{Client, Error, ErrorKind, Method, Request, Response};
use edge_common::identity::DeviceConfig;
use edge_common::{Root, known_time, log};
use serde::Deserialize;

use crate::cloud_config::CloudConfig;
use crate::credentials::{self, Keys, MAX_ANSWER_BYTES, Token};
use crate::reference;
use crate::secret::{Secret, wipe};

/// Time limit of a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Time limit of a request.
const TIMEOUT: Duration = Duration::from_secs(15);
/// Pauses after a request that failed.
const PAUSES: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(300)];
/// Time before the end of validity from which credentials are asked for again, in seconds:
/// a pull that begins with them needs some time.
const MARGIN: u64 = 300;
/// User name of ECR.
const USER: &str = "AWS";
/// Length limit of an error of a service in a message, in characters.
const MAX_REASON_CHARS: usize = 200;

/// User name and password of a registry.
pub struct Login {
    /// User name.
    pub username: &'static str,
    /// Password.
    pub password: Secret,
    /// `HOST` or `HOST:PORT` of the registry.
    pub registry: String,
    /// End of validity in seconds of Unix time.
    pub expires: u64,
    /// Same end on the monotonic clock: the other one may be set back.
    end: Instant,
}

impl Login {
    fn is_valid(&self) -> bool {
        known_time::clock() < self.expires && Instant::now() < self.end
    }
}

/// Cause of a missing login.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// A service does not answer, is overloaded, or answers with something else. Another
    /// attempt may succeed.
    Unavailable,
    /// A service refuses the device, or does not trust it or is not trusted. A person has to
    /// change something first.
    Refused,
    /// A file of the device or its image is absent or invalid.
    Unusable,
}

/// Error of [`Logins::of_set`]. It quotes no secret.
#[derive(Debug)]
pub struct LoginError {
    /// Cause.
    pub cause: Cause,
    message: String,
}

impl fmt::Display for LoginError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for LoginError {}

fn failed(cause: Cause, message: impl fmt::Display) -> LoginError {
    LoginError {
        cause,
        message: log::printable(&message.to_string()),
    }
}

fn unusable(error: anyhow::Error) -> LoginError {
    failed(Cause::Unusable, format_args!("{error:#}"))
}

fn unavailable(error: anyhow::Error) -> LoginError {
    failed(Cause::Unavailable, format_args!("{error:#}"))
}

/// Logins of the registry, kept in memory while they are valid.
pub struct Logins {
    root: Root,
    keys: Option<Keys>,
    login: Option<Login>,
    backoff: Backoff,
}

impl Logins {
    /// Creates an empty store; nothing is read or sent.
    pub fn new(root: &Root) -> Self {
        let [shortest, longest] = PAUSES;
        Self {
            root: root.clone(),
            keys: None,
            login: None,
            backoff: Backoff::new(shortest, longest),
        }
    }

    /// Returns the login for the registry of `REPOSITORY@DIGEST`, the one from before if it
    /// is valid for another five minutes. A service that is not available is asked again with
    /// random pauses of 2 to 300 s until `limit` is over. Returns `None` for a device image
    /// that was built without a cloud: edge-docker uses the login that it keeps.
    ///
    /// # Errors
    /// [`LoginError`] of the last attempt.
    pub fn of_set(&mut self, set: &str, limit: Duration) -> Result<Option<&Login>, LoginError> {
        let end = Instant::now() + limit;
        let parts = reference::split(set).map_err(|error| failed(Cause::Unusable, error))?;
        let registry = parts.0.split('/').next().unwrap_or_default();
        let Some(config) = CloudConfig::load(&self.root).map_err(unusable)? else {
            return Ok(None);
        };
        let device = Device::load(&self.root, config).map_err(unusable)?;
        let is_current = |login: &Login| login.is_valid() && login.registry == registry;
        if !self.login.as_ref().is_some_and(is_current) {
            self.login = None;
            let token = self.repeat(&device, end)?;
            self.login = Some(login(token, registry)?);
        }
        Ok(self.login.as_ref())
    }

    /// Forgets keys and password, for example after the registry has rejected them.
    pub fn forget(&mut self) {
        (self.keys, self.login) = (None, None);
    }

    /// Asks until an attempt succeeds, is refused, or the next one would begin after `end`.
    fn repeat(&mut self, device: &Device, end: Instant) -> Result<Token, LoginError> {
        loop {
            let error = match self.attempt(device) {
                Ok(token) => {
                    self.backoff.reset();
                    return Ok(token);
                }
                Err(error) => error,
            };
            let pause = self.backoff.next_pause();
            let is_over = Instant::now() + pause >= end;
            if error.cause != Cause::Unavailable || is_over {
                return Err(error);
            }
            log::warn(format_args!(
                "{error}; asking again in {} s",
                pause.as_secs()
            ));
            std::thread::sleep(pause);
        }
    }

    fn attempt(&mut self, device: &Device) -> Result<Token, LoginError> {
        let kept = self.keys.take().filter(|keys| is_lasting(keys.expires));
        let is_kept = kept.is_some();
        let keys = match kept {
            Some(keys) => keys,
            None => device.keys()?,
        };
        match device.token(&keys) {
            // Keys can be revoked before their end.
            Err(Failure::Keys(_)) if is_kept => self.attempt(device),
            Err(Failure::Keys(error) | Failure::Other(error)) => Err(error),
            Ok(mut token) => {
                // Whether a password outlives the keys that it was issued for is not stated.
                token.expires = token.expires.min(keys.expires);
                self.keys = Some(keys);
                Ok(token)
            }
        }
    }
}

/// Returns whether credentials are valid for long enough.
fn is_lasting(expires: u64) -> bool {
    known_time::clock() + MARGIN < expires
}

/// Checks that a password is for the registry, to which edge-docker sends it.
fn login(token: Token, registry: &str) -> Result<Login, LoginError> {
    if token.registry != registry {
        let other = &token.registry;
        let message = format!("the cloud issues passwords of {other}, the set is in {registry}");
        return Err(failed(Cause::Refused, message));
    }
    let expires = token.expires.saturating_sub(MARGIN);
    let left = Duration::from_secs(expires.saturating_sub(known_time::clock()));
    Ok(Login {
        username: USER,
        password: token.password,
        registry: token.registry,
        expires,
        end: Instant::now() + left,
    })
}

/// Failure of a request for a password.
enum Failure {
    /// The keys are not accepted.
    Keys(LoginError),
    /// Everything else.
    Other(LoginError),
}

/// Identity of the device, and the services that it is presented to.
struct Device {
    config: CloudConfig,
    identity: Identity,
    ca_bundle: CaBundle,
    thing: String,
    proxy: Option<String>,
}

impl Device {
    fn load(root: &Root, config: CloudConfig) -> anyhow::Result<Self> {
        let device = DeviceConfig::load(root)?;
        Ok(Self {
            config,
            identity: Identity::of_device(root),
            ca_bundle: CaBundle::load(root)?,
            thing: device.thing_name,
            proxy: device.proxy,
        })
    }

    fn client<'a>(&'a self, identity: Option<&'a Identity>) -> Client<'a> {
        Client {
            ca_bundle: &self.ca_bundle,
            proxy: self.proxy.as_deref(),
            identity,
            connect_timeout: CONNECT_TIMEOUT,
            timeout: TIMEOUT,
        }
    }

    /// Exchanges the client certificate for keys.
    fn keys(&self) -> Result<Keys, LoginError> {
        let alias = &self.config.role_alias;
        let target = format!("/role-aliases/{alias}/credentials");
        let headers = [("x-amzn-iot-thingname", self.thing.as_str())];
        let host = &self.config.credentials_endpoint;
        let request = Request {
            headers: &headers,
            ..Request::get(host, &target, MAX_ANSWER_BYTES)
        };
        let response = self.client(Some(&self.identity)).send(&request);
        let response = response.map_err(unanswered)?;
        let date = date(&response);
        if response.status != 200 {
            let reason = reason(&response.body, |error| error.message);
            return Err(status("the credentials provider", response.status, &reason));
        }
        let keys = Keys::parse(&response.body);
        wipe(response.body);
        let keys = keys.map_err(unavailable)?;
        if keys.expires <= known_time::clock() {
            let message = format!("the keys of the credentials provider have ended{date}");
            return Err(failed(Cause::Unavailable, message));
        }
        Ok(keys)
    }

    /// Exchanges keys for the password of the registry.
    fn token(&self, keys: &Keys) -> Result<Token, Failure> {
        let (host, region) = (&self.config.ecr_endpoint, &self.config.region);
        let signed = credentials::token_request(keys, host, region, known_time::clock());
        let signed = signed.map_err(|error| Failure::Other(unusable(error)))?;
        let headers: Vec<_> = (signed.headers.iter())
            .map(|(name, value)| (*name, value.as_str()))
            .collect();
        let request = Request {
            method: Method::Post,
            headers: &headers,
            body: signed.body.as_bytes(),
            ..Request::get(host, "/", MAX_ANSWER_BYTES)
        };
        let response = self.client(None).send(&request);
        let response = response.map_err(|error| Failure::Other(unanswered(error)))?;
        let date = date(&response);
        if response.status != 200 {
            // The message of a rejected signature repeats the request, with its token.
            let reason = reason(&response.body, |error| error.kind);
            let error = |hint: &str| {
                let reason = format!("{reason}{hint}");
                status("the registry's API", response.status, &reason)
            };
            let is = |kinds: &[&str]| kinds.iter().any(|kind| reason.ends_with(kind));
            return Err(if is(&["InvalidSignatureException", "RequestExpired"]) {
                Failure::Other(error(&format!("{date}: is the clock right?")))
            } else if is(&["ExpiredTokenException", "UnrecognizedClientException"]) {
                Failure::Keys(error(""))
            } else {
                Failure::Other(error(""))
            });
        }
        let token = credentials::token(&response.body);
        wipe(response.body);
        token.map_err(|error| Failure::Other(unavailable(error)))
    }
}

fn unanswered(error: Error) -> LoginError {
    let cause = match error.kind {
        ErrorKind::Network | ErrorKind::Response => Cause::Unavailable,
        ErrorKind::Tls => Cause::Refused,
        ErrorKind::Request => Cause::Unusable,
    };
    failed(cause, error)
}

/// Returns the time of the server as `; the server's time is DATE`.
fn date(response: &Response) -> String {
    let date = response.header("date").filter(|date| date.len() <= 40);
    date.map_or(String::new(), |date| {
        format!("; the server's time is {date}")
    })
}

/// Error of a service.
#[derive(Default, Deserialize)]
struct ServiceError {
    #[serde(default, rename = "__type")]
    kind: String,
    #[serde(default)]
    message: String,
}

/// Returns a field of an error as `: FIELD`, shortened; empty if it is absent.
fn reason(body: &[u8], field: fn(ServiceError) -> String) -> String {
    let error: ServiceError = serde_json::from_slice(body).unwrap_or_default();
    let text: String = field(error).chars().take(MAX_REASON_CHARS).collect();
    match text.is_empty() {
        true => text,
        false => format!(": {text}"),
    }
}

/// Returns the error for a status other than 200. In APIs with JSON 1.1, an overload has
/// status 400.
fn status(service: &str, status: u16, reason: &str) -> LoginError {
    let cause = match status {
        408 | 429 | 500..600 => Cause::Unavailable,
        400 if reason.contains("Throttling") => Cause::Unavailable,
        _ => Cause::Refused,
    };
    failed(
        cause,
        format_args!("{service} answers with status {status}{reason}"),
    )
}
