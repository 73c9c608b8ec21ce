//! HTTP client of one repository of a registry, with limits for time and size of a response.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, LOCATION};
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client, Method, Response, Url};

use super::credentials::Credentials;
use super::layout::Layout;
use super::response::{read_body, status_error, unreachable};
use super::token::{Access, Challenge};
use crate::error::{Error, causes};

/// Default time limit of one response, including its body.
pub(super) const DEFAULT_TIMEOUT: Duration = Duration::from_secs(30);
/// Time limit for establishing a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Number of redirects after which a request fails.
const MAX_REDIRECTS: usize = 5;

/// Request to the registry, with limits for the response.
pub(super) struct Request<'a> {
    /// HTTP method: `GET`, or one that writes.
    pub(super) method: Method,
    /// Path on the registry's host, or the URL from a `Link` header.
    pub(super) path: String,
    /// Name of the requested object in error messages.
    pub(super) name: &'a str,
    /// Media types for the `Accept` header.
    pub(super) accept: &'a [&'a str],
    /// Media type and bytes of the request's body.
    pub(super) body: Option<(&'a str, &'a [u8])>,
    /// Size limit of the response's body, in bytes.
    pub(super) limit: usize,
    /// Whether redirects to other hosts are followed. Set only for content whose digest
    /// is known.
    pub(super) any_host: bool,
    /// Access that the bearer token of the request must grant.
    pub(super) access: Access,
    /// HTTP statuses that mean, like 404, that the requested object does not exist.
    pub(super) absent: &'a [u16],
    /// Time limit of the response, instead of the client's.
    pub(super) timeout: Option<Duration>,
}

impl<'a> Request<'a> {
    /// Creates a `GET` request whose response has at most `limit` bytes.
    pub(super) fn get(path: String, name: &'a str, limit: usize) -> Self {
        Self {
            method: Method::GET,
            path,
            name,
            accept: &[],
            body: None,
            limit,
            any_host: false,
            access: Access::Pull,
            absent: &[],
            timeout: None,
        }
    }
}

/// Complete response with a status of 2xx, as opposed to a response whose body is not
/// read yet.
pub(super) struct Complete {
    /// Headers of the response, for example `Link` of a list.
    pub(super) headers: HeaderMap,
    /// Body of the response, at most [`Request::limit`] bytes.
    pub(super) body: Vec<u8>,
}

/// HTTP client of one repository, which remembers the last bearer token.
pub(super) struct Http {
    client: Client,
    base: Url,
    scope: String,
    credentials: Option<Credentials>,
    token: Mutex<Option<(Access, String)>>,
    /// Content of a bundle, which answers in the place of the registry.
    layout: Option<Arc<Layout>>,
    /// Answers of the registry so far, if they are recorded.
    #[cfg(feature = "push")]
    recorded: Mutex<Option<Layout>>,
}

impl Http {
    pub(super) fn new(
        host: &str,
        path: &str,
        credentials: Option<Credentials>,
        ca_bundle: &[Vec<u8>],
        timeout: Duration,
    ) -> Result<Self, Error> {
        let failed = |e: &dyn std::error::Error| {
            Error::Malformed(format!("preparing TLS for {host}: {}", causes(e)))
        };
        // The time limit covers the whole response: a server that sends one byte now and
        // then could otherwise delay a deployment for ever. Redirects are left to
        // `follow`, which knows whether another host may answer this request.
        let mut builder = Client::builder()
            .https_only(true)
            .redirect(Policy::none())
            .timeout(timeout)
            .connect_timeout(timeout.min(CONNECT_TIMEOUT))
            .user_agent(concat!("edge-ai/", env!("CARGO_PKG_VERSION")));
        for pem in ca_bundle {
            let certificates = Certificate::from_pem_bundle(pem).map_err(|e| failed(&e))?;
            builder = builder.tls_certs_merge(certificates);
        }
        Ok(Self {
            client: builder.build().map_err(|e| failed(&e))?,
            base: Url::parse(&format!("https://{host}/")).map_err(|e| failed(&e))?,
            scope: format!("repository:{path}"),
            credentials,
            token: Mutex::default(),
            layout: None,
            #[cfg(feature = "push")]
            recorded: Mutex::default(),
        })
    }

    /// Answers from the content of a bundle; nothing is sent.
    pub(super) fn with_layout(self, layout: Arc<Layout>) -> Self {
        Self {
            layout: Some(layout),
            ..self
        }
    }

    /// Replaces the recording and returns it.
    #[cfg(feature = "push")]
    pub(super) fn record(&self, new: Option<Layout>) -> Option<Layout> {
        let mut recorded = self.recorded.lock().ok()?;
        std::mem::replace(&mut *recorded, new)
    }

    /// Sends a request and reads the complete response.
    pub(super) async fn send(&self, request: &Request<'_>) -> Result<Complete, Error> {
        // Also what the bundle lacks is never requested from the network.
        if let Some(layout) = &self.layout {
            let body = layout.answer(&request.path, request.name, request.limit)?;
            let headers = HeaderMap::new();
            return Ok(Complete { headers, body });
        }
        let response = self.respond(request).await?;
        let headers = response.headers().clone();
        let body = read_body(request.name, response, request.limit).await?;
        #[cfg(feature = "push")]
        if let Some(recorded) = self.recorded.lock().ok().as_mut().and_then(|r| r.as_mut()) {
            recorded.note(&request.path, &body)?;
        }
        Ok(Complete { headers, body })
    }

    /// Sends a request and returns the response with a status of 2xx, whose body is not
    /// read yet. If the registry demands a bearer token, requests a token and sends the
    /// request again.
    pub(super) async fn respond(&self, request: &Request<'_>) -> Result<Response, Error> {
        let url = self.url(&request.path, request.name)?;
        let authorization = self.authorization(request.access);
        let mut response = self.send_to(request, url.clone(), authorization).await?;
        if response.status() == 401 {
            if let Some(challenge) = Challenge::find(response.headers()) {
                let token = challenge
                    .request_token(
                        &self.client,
                        &self.scope,
                        request.access,
                        self.credentials.as_ref(),
                    )
                    .await?;
                let bearer = format!("Bearer {token}");
                self.keep_token(request.access, token);
                response = self.send_to(request, url.clone(), Some(bearer)).await?;
            }
        }
        let response = self.follow(request, url, response).await?;
        if request.absent.contains(&response.status().as_u16()) {
            return Err(Error::NotFound(request.name.into()));
        }
        if !response.status().is_success() {
            return Err(status_error(request.name, response).await);
        }
        Ok(response)
    }

    /// Returns the URL of a path or of a `Link` header. A URL on another host is an
    /// error, because the request carries credentials for this registry.
    pub(super) fn url(&self, path: &str, name: &str) -> Result<Url, Error> {
        let url = self.base.join(path).ok();
        url.filter(|u| u.origin() == self.base.origin())
            .ok_or_else(|| {
                Error::Unverifiable(format!("{name}: link to another host, not followed"))
            })
    }

    /// Returns the `Authorization` header for the first attempt: a bearer token from an
    /// earlier request, else user name and password. ECR accepts the password at once,
    /// which saves the round trip of a response with status 401.
    fn authorization(&self, access: Access) -> Option<String> {
        let token = self.token.lock().ok().and_then(|t| t.clone());
        match token {
            Some((granted, token)) if granted >= access => Some(format!("Bearer {token}")),
            _ => {
                // An identity token is for the token service alone.
                let login = self.credentials.as_ref();
                login
                    .filter(|c| !c.is_identity_token())
                    .map(Credentials::basic)
            }
        }
    }

    /// Returns the bearer token that the last request received.
    #[cfg(feature = "push")]
    pub(super) fn token(&self) -> Option<String> {
        let token = self.token.lock().ok()?;
        token.as_ref().map(|(_, token)| token.clone())
    }

    fn keep_token(&self, access: Access, token: String) {
        if let Ok(mut kept) = self.token.lock() {
            *kept = Some((access, token));
        }
    }

    async fn send_to(
        &self,
        request: &Request<'_>,
        url: Url,
        authorization: Option<String>,
    ) -> Result<Response, Error> {
        let mut builder = self.client.request(request.method.clone(), url);
        if let Some(timeout) = request.timeout {
            builder = builder.timeout(timeout);
        }
        if !request.accept.is_empty() {
            builder = builder.header(ACCEPT, request.accept.join(", "));
        }
        if let Some(authorization) = authorization {
            builder = builder.header(AUTHORIZATION, authorization);
        }
        if let Some((media_type, bytes)) = request.body {
            builder = builder
                .header(CONTENT_TYPE, media_type)
                .body(bytes.to_vec());
        }
        let sent = builder.send().await;
        sent.map_err(|e| unreachable(request.name, e))
    }

    /// Sends a body of unknown length with `PATCH` to the URL of an upload, and returns the
    /// response. The time limit of the client does not apply: who produces the body limits
    /// the time of each piece.
    #[cfg(feature = "push")]
    pub(super) async fn patch(
        &self,
        url: Url,
        name: &str,
        body: reqwest::Body,
        limit: Duration,
    ) -> Result<Response, Error> {
        let mut builder = self.client.patch(url).timeout(limit);
        if let Some(authorization) = self.authorization(Access::Push) {
            builder = builder.header(AUTHORIZATION, authorization);
        }
        let builder = builder.header(CONTENT_TYPE, "application/octet-stream");
        let response = builder.body(body).send().await;
        let response = response.map_err(|e| unreachable(name, e))?;
        match response.status().is_success() {
            true => Ok(response),
            false => Err(status_error(name, response).await),
        }
    }

    /// Follows redirects of a `GET` or `HEAD` over https: to the registry's own host and, for
    /// content whose digest is known, to any host.
    async fn follow(
        &self,
        request: &Request<'_>,
        mut url: Url,
        mut response: Response,
    ) -> Result<Response, Error> {
        for _ in 0..MAX_REDIRECTS {
            let reads = [Method::GET, Method::HEAD].contains(&request.method);
            if !response.status().is_redirection() || !reads {
                return Ok(response);
            }
            let location = response.headers().get(LOCATION);
            let target = location.and_then(|l| url.join(l.to_str().ok()?).ok());
            let is_registry = |u: &Url| u.origin() == self.base.origin();
            // A manifest must come from the registry itself: for a tag, its answer
            // decides which content is verified.
            url = target
                .filter(|t| t.scheme() == "https" && (is_registry(t) || request.any_host))
                .ok_or_else(|| {
                    let name = request.name;
                    Error::Unverifiable(format!(
                        "{name}: redirect to another host or scheme, not followed"
                    ))
                })?;
            // Registries store blobs on another host (ECR: S3), which authorizes by a
            // signed URL. That host must not receive the credentials for the registry.
            let authorization = is_registry(&url)
                .then(|| self.authorization(request.access))
                .flatten();
            response = self.send_to(request, url.clone(), authorization).await?;
        }
        let name = request.name;
        Err(Error::Unverifiable(format!("{name}: too many redirects")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_registry_receives_requests() {
        let http = Http::new("r.io:5000", "a", None, &[], DEFAULT_TIMEOUT).unwrap();
        assert!(http.url("/v2/a/manifests/v1", "x").is_ok());
        assert!(http.url("https://r.io:5000/v2/", "x").is_ok());
        for path in [
            "//evil.io/v2/",
            "https://r.io/v2/",
            "http://r.io:5000/",
            "https://",
        ] {
            assert!(http.url(path, "x").is_err(), "{path}");
        }
    }
}
