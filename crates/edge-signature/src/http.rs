//! Requests to one registry: timed, capped, never led elsewhere with a secret,
//! and with no round trip that only asks how to log in.

use std::sync::Mutex;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, LOCATION, WWW_AUTHENTICATE};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, Method, Response, Url};
use serde::Deserialize;

use crate::error::causes;
use crate::{Credentials, Error};

/// How long an answer may take, whole, if nothing else was said.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// Largest answer of a token service, and largest refusal that is read.
const SMALL: usize = 64 * 1024;
/// Redirects that are followed for one blob.
const REDIRECTS: usize = 5;

/// What a request is for; tokens are given for one or the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Action {
    /// Reading.
    Pull,
    /// Writing, reading included.
    Push,
}

/// A request to the registry.
pub struct Ask<'a> {
    /// `GET`, or what writes.
    pub method: Method,
    /// What follows the host.
    pub path: String,
    /// For error messages.
    pub what: &'a str,
    /// Media types that are taken.
    pub accept: &'a [&'a str],
    /// Media type and bytes to send.
    pub body: Option<(&'a str, &'a [u8])>,
    /// Largest body that is taken, in bytes.
    pub limit: usize,
    /// May another host answer? Only where the content's digest is known.
    pub elsewhere: bool,
    /// What for.
    pub action: Action,
    /// Statuses that mean, beside 404, that there is no such thing.
    pub absent: &'a [u16],
}

impl<'a> Ask<'a> {
    /// A `GET` of at most `limit` bytes.
    pub fn get(path: String, what: &'a str, limit: usize) -> Self {
        Self {
            method: Method::GET,
            path,
            what,
            accept: &[],
            body: None,
            limit,
            elsewhere: false,
            action: Action::Pull,
            absent: &[],
        }
    }
}

/// A whole answer, with a status of 2xx.
pub struct Answer {
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, within the limit.
    pub body: Vec<u8>,
}

/// A client of one repository.
pub struct Http {
    client: Client,
    base: Url,
    scope: String,
    credentials: Option<Credentials>,
    token: Mutex<Option<(Action, String)>>,
}

impl Http {
    pub fn new(
        host: &str,
        path: &str,
        credentials: Option<Credentials>,
        ca_bundle: &[Vec<u8>],
        patience: Duration,
    ) -> Result<Self, Error> {
        let bad = |e: &dyn std::error::Error| {
            Error::Malformed(format!("preparing TLS for {host}: {}", causes(e)))
        };
        let mut builder = Client::builder()
            .https_only(true)
            .redirect(Policy::none())
            .timeout(patience)
            .connect_timeout(patience.min(Duration::from_secs(10)))
            .user_agent(concat!("edge-ai/", env!("CARGO_PKG_VERSION")));
        for pem in ca_bundle {
            let bundle = Certificate::from_pem_bundle(pem).map_err(|e| bad(&e))?;
            builder = builder.tls_certs_merge(bundle);
        }
        Ok(Self {
            client: builder.build().map_err(|e| bad(&e))?,
            base: Url::parse(&format!("https://{host}/")).map_err(|e| bad(&e))?,
            scope: format!("repository:{path}"),
            credentials,
            token: Mutex::default(),
        })
    }

    /// Asks and reads the whole answer.
    pub async fn ask(&self, ask: &Ask<'_>) -> Result<Answer, Error> {
        let url = self.url(&ask.path, ask.what)?;
        let mut response = self.send(ask, url.clone(), self.known(ask.action)).await?;
        if response.status() == 401 {
            if let Some(challenge) = challenge(response.headers()) {
                let token = self.fetch_token(&challenge, ask.action).await?;
                let bearer = format!("Bearer {token}");
                self.keep(ask.action, token);
                response = self.send(ask, url.clone(), Some(bearer)).await?;
            }
        }
        let response = self.follow(ask, url, response).await?;
        if ask.absent.contains(&response.status().as_u16()) {
            return Err(Error::NotFound(ask.what.into()));
        }
        if !response.status().is_success() {
            return Err(refusal(ask.what, response).await);
        }
        let headers = response.headers().clone();
        let body = read(ask.what, response, ask.limit).await?;
        Ok(Answer { headers, body })
    }

    /// An address on the registry's own host: a path, or whole.
    fn url(&self, path: &str, what: &str) -> Result<Url, Error> {
        let url = self.base.join(path).ok();
        url.filter(|u| u.origin() == self.base.origin())
            .ok_or_else(|| {
                Error::CannotTell(format!("{what}: sent elsewhere, which is not followed"))
            })
    }

    /// What is sent without being asked: a token that is there, else user and
    /// password, which spares the round trip that would ask for them.
    fn known(&self, action: Action) -> Option<String> {
        let kept = self.token.lock().ok().and_then(|t| t.clone());
        match kept {
            Some((scope, token)) if scope >= action => Some(format!("Bearer {token}")),
            _ => self.basic(),
        }
    }

    fn basic(&self) -> Option<String> {
        let Credentials { username, password } = self.credentials.as_ref()?;
        Some(format!(
            "Basic {}",
            STANDARD.encode(format!("{username}:{password}"))
        ))
    }

    fn keep(&self, action: Action, token: String) {
        if let Ok(mut kept) = self.token.lock() {
            *kept = Some((action, token));
        }
    }

    async fn send(
        &self,
        ask: &Ask<'_>,
        url: Url,
        authorization: Option<String>,
    ) -> Result<Response, Error> {
        let mut request = self.client.request(ask.method.clone(), url);
        if !ask.accept.is_empty() {
            request = request.header(ACCEPT, ask.accept.join(", "));
        }
        if let Some(authorization) = authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        if let Some((kind, bytes)) = ask.body {
            request = request.header(CONTENT_TYPE, kind).body(bytes.to_vec());
        }
        request.send().await.map_err(|e| unreachable(ask.what, e))
    }

    /// Follows redirects: on the same host, or for a known content to any host
    /// over TLS, without what authorizes.
    async fn follow(
        &self,
        ask: &Ask<'_>,
        mut at: Url,
        mut response: Response,
    ) -> Result<Response, Error> {
        for _ in 0..REDIRECTS {
            if !response.status().is_redirection() || ask.method != Method::GET {
                return Ok(response);
            }
            let to = response.headers().get(LOCATION);
            let to = to.and_then(|l| at.join(l.to_str().ok()?).ok());
            let home = |u: &Url| u.origin() == self.base.origin();
            at = to
                .filter(|to| to.scheme() == "https" && (home(to) || ask.elsewhere))
                .ok_or_else(|| {
                    let what = ask.what;
                    Error::CannotTell(format!("{what}: sent elsewhere, which is not followed"))
                })?;
            let authorization = home(&at).then(|| self.known(ask.action)).flatten();
            response = self.send(ask, at.clone(), authorization).await?;
        }
        Err(Error::CannotTell(format!(
            "{}: sent from place to place",
            ask.what
        )))
    }

    async fn fetch_token(&self, challenge: &Challenge, action: Action) -> Result<String, Error> {
        let what = "the registry's token service";
        let bad = || Error::CannotTell(format!("{what}: no address that can be used"));
        let mut url = Url::parse(&challenge.realm).map_err(|_| bad())?;
        if url.scheme() != "https" {
            return Err(bad());
        }
        let actions = if action == Action::Pull {
            "pull"
        } else {
            "pull,push"
        };
        url.query_pairs_mut()
            .append_pair("service", &challenge.service)
            .append_pair("scope", &format!("{}:{actions}", self.scope));
        let mut request = self.client.get(url);
        if let Some(basic) = self.basic() {
            request = request.header(AUTHORIZATION, basic);
        }
        let response = request.send().await.map_err(|e| unreachable(what, e))?;
        if !response.status().is_success() {
            return Err(refusal(what, response).await);
        }
        let body = read(what, response, SMALL).await?;
        serde_json::from_slice::<Token>(&body)
            .ok()
            .and_then(|t| t.token.or(t.access_token))
            .filter(|t| !t.is_empty() && t.bytes().all(|b| b.is_ascii_graphic()))
            .ok_or_else(|| Error::CannotTell(format!("{what}: no token in its answer")))
    }
}

#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

/// Where tokens are given.
#[derive(Debug, Default, PartialEq, Eq)]
struct Challenge {
    realm: String,
    service: String,
}

fn challenge(headers: &HeaderMap) -> Option<Challenge> {
    let mut values = headers.get_all(WWW_AUTHENTICATE).iter();
    values.find_map(|v| bearer(v.to_str().ok()?))
}

/// `Bearer realm="…",service="…",scope="…"`; our scope is our own.
fn bearer(text: &str) -> Option<Challenge> {
    let (scheme, mut rest) = text.trim().split_once(' ')?;
    let mut found = Challenge::default();
    while let Some((key, behind)) = rest.split_once('=') {
        let (value, behind) = match behind.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"')?,
            None => behind.split_at(behind.find(',').unwrap_or(behind.len())),
        };
        match key.trim_matches([',', ' ']).to_ascii_lowercase().as_str() {
            "realm" => found.realm = value.into(),
            "service" => found.service = value.into(),
            _ => {}
        }
        rest = behind;
    }
    (scheme.eq_ignore_ascii_case("bearer") && !found.realm.is_empty()).then_some(found)
}

/// Reads a body up to its limit; what is longer is not taken.
async fn read(what: &str, mut response: Response, limit: usize) -> Result<Vec<u8>, Error> {
    let large = || Error::Malformed(format!("{what}: the answer is larger than {limit} bytes"));
    if response.content_length().is_some_and(|l| l > limit as u64) {
        return Err(large());
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|e| unreachable(what, e))? {
        if body.len() + chunk.len() > limit {
            return Err(large());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn unreachable(what: &str, error: reqwest::Error) -> Error {
    let error = error.without_url();
    Error::CannotTell(format!("{what}: {}", causes(&error)))
}

/// What a status other than 2xx means.
async fn refusal(what: &str, response: Response) -> Error {
    let status = response.status();
    let words = read(what, response, SMALL).await.unwrap_or_default();
    match status.as_u16() {
        404 => Error::NotFound(what.into()),
        401 | 403 => Error::Unauthorized(what.into()),
        _ => Error::CannotTell(format!("{what}: {status}{}", said(&words))),
    }
}

#[derive(Deserialize)]
struct Refusal {
    errors: Vec<Reason>,
}

#[derive(Deserialize)]
struct Reason {
    message: String,
}

/// The first reason that a registry gives.
fn said(body: &[u8]) -> String {
    let refusal = serde_json::from_slice::<Refusal>(body).ok();
    let reason = refusal.and_then(|r| r.errors.into_iter().next());
    reason.map_or(String::new(), |r| {
        format!(": {}", r.message.chars().take(200).collect::<String>())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges() {
        let good = r#"Bearer realm="https://a.io/token",service="r.io",scope="x:y:pull,push""#;
        let wanted = Challenge {
            realm: "https://a.io/token".into(),
            service: "r.io".into(),
        };
        assert_eq!(bearer(good), Some(wanted));
        let bare = bearer("bearer scope=\"a\", Realm=https://b.io , service=s");
        assert_eq!(bare.unwrap().realm, "https://b.io ");
        for bad in [
            "",
            "Bearer",
            "Basic realm=\"x\"",
            "Bearer service=\"x\"",
            "Bearer realm=\"x",
        ] {
            assert_eq!(bearer(bad), None, "{bad}");
        }
    }

    #[test]
    fn only_the_own_host_is_asked() {
        let http = Http::new("r.io:5000", "a", None, &[], PATIENCE).unwrap();
        assert!(http.url("/v2/a/manifests/v1", "x").is_ok());
        assert!(http.url("https://r.io:5000/v2/", "x").is_ok());
        for bad in [
            "//evil.io/v2/",
            "https://r.io/v2/",
            "http://r.io:5000/",
            "https://",
        ] {
            assert!(http.url(bad, "x").is_err(), "{bad}");
        }
    }
}
