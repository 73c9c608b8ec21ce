//! HTTP server of the endpoint, and its answers to the requests of `docker push`.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Result};
use edge_signature::Digest;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, LOCATION, RANGE};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use super::shared::{Shared, Target, Upload};
use crate::exit_code::registry_error;
use crate::image::layer_cache;

/// Last part of the repository's name, after the secret.
pub(super) const REPOSITORY: &str = "edge-app";
/// Maximum number of connections: docker opens five, and other programs of this computer
/// may find the port.
const MAX_CONNECTIONS: usize = 64;
/// Time in which a connection must send the head of a request.
const HEAD_LIMIT: Duration = Duration::from_secs(30);
/// Size limit in bytes of a manifest.
const MAX_MANIFEST_BYTES: usize = 4 * 1024 * 1024;

type Response = hyper::Response<Full<Bytes>>;

/// Accepts connections until the task is aborted.
pub(super) async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    let connections = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut tasks = tokio::task::JoinSet::new();
    loop {
        let Ok(permit) = Arc::clone(&connections).acquire_owned().await else {
            return;
        };
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        while tasks.try_join_next().is_some() {}
        let shared = Arc::clone(&shared);
        tasks.spawn(async move {
            let service = service_fn(move |request| answer(Arc::clone(&shared), request));
            let mut server = http1::Builder::new();
            server
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_LIMIT);
            // docker first tries TLS, which is no HTTP: such errors are expected.
            let _ = server.serve_connection(TokioIo::new(stream), service).await;
            drop(permit);
        });
    }
}

async fn answer(shared: Arc<Shared>, request: Request<Incoming>) -> Result<Response, Infallible> {
    let mut response = match route(&shared, request).await {
        Ok(response) => response,
        Err(error) => {
            let response = refusal(StatusCode::BAD_GATEWAY, "UNKNOWN", &format!("{error:#}"));
            // The engine would try again for minutes.
            shared.fail(error);
            response
        }
    };
    let version = HeaderValue::from_static("registry/2.0");
    let headers = response.headers_mut();
    headers.insert("docker-distribution-api-version", version);
    Ok(response)
}

/// Answers one request. An error ends the push.
async fn route(shared: &Shared, request: Request<Incoming>) -> Result<Response> {
    let path = request.uri().path().to_string();
    // The only answer outside the secret path, which shows that this is a registry.
    if path == "/v2/" {
        return Ok(status(StatusCode::OK));
    }
    let Some(rest) = below_secret(shared, &path) else {
        return Ok(refusal(
            StatusCode::NOT_FOUND,
            "NAME_UNKNOWN",
            "no such repository",
        ));
    };
    shared.contacted.store(true, Ordering::Relaxed);
    let method = request.method().clone();
    if let Some(id) = rest.strip_prefix("blobs/uploads/") {
        return match (method, id) {
            (Method::POST, "") => begin(shared, request.uri().query()).await,
            (Method::PATCH, id) => append(shared, id, request).await,
            (Method::PUT, id) => finish(shared, id, request).await,
            (Method::GET, id) => Ok(progress(shared, id)),
            (Method::DELETE, id) => {
                shared.state().uploads.remove(id);
                Ok(status(StatusCode::NO_CONTENT))
            }
            _ => Ok(status(StatusCode::METHOD_NOT_ALLOWED)),
        };
    }
    if let Some(digest) = rest.strip_prefix("blobs/") {
        return match (method, digest.parse()) {
            (Method::HEAD, Ok(digest)) => head(shared, &digest).await,
            _ => Ok(refusal(
                StatusCode::NOT_FOUND,
                "BLOB_UNKNOWN",
                "no such blob",
            )),
        };
    }
    match (method, rest.starts_with("manifests/")) {
        (Method::PUT, true) => manifest(shared, request).await,
        _ => Ok(refusal(
            StatusCode::NOT_FOUND,
            "MANIFEST_UNKNOWN",
            "no such manifest",
        )),
    }
}

/// Returns the path after `/v2/SECRET/edge-app/`.
fn below_secret<'a>(shared: &Shared, path: &'a str) -> Option<&'a str> {
    let (secret, rest) = path.strip_prefix("/v2/")?.split_once('/')?;
    let (secret, expected) = (secret.as_bytes(), shared.secret.as_bytes());
    let same = secret.len() == expected.len() && openssl::memcmp::eq(secret, expected);
    rest.strip_prefix(REPOSITORY)?
        .strip_prefix('/')
        .filter(|_| same)
}

/// Answers whether the target has a blob.
async fn head(shared: &Shared, digest: &Digest) -> Result<Response> {
    let Some(size) = shared.size_at_target(digest).await? else {
        return Ok(status(StatusCode::NOT_FOUND));
    };
    let mut response = status(StatusCode::OK);
    let headers = response.headers_mut();
    headers.insert(CONTENT_LENGTH, HeaderValue::from(size));
    headers.insert("docker-content-digest", value(digest.as_str())?);
    Ok(response)
}

impl Shared {
    /// Returns the size of a blob that the target has or received. A digest of a layer that
    /// nobody knows yet counts as present with size 0: the manifest shows which layer it
    /// is, and if the target lacks that, it is denied and comes with the next push.
    async fn size_at_target(&self, digest: &Digest) -> Result<Option<u64>> {
        {
            let state = self.state();
            if let Some(received) = state.received.get(digest) {
                return Ok(Some(received.size));
            }
            if state.denied.contains(digest) {
                return Ok(None);
            }
        }
        // The configuration must arrive: it decides which image is signed.
        if digest.as_str() == self.image {
            return Ok(None);
        }
        let known = layer_cache::diff_id(digest);
        match &self.target {
            Target::Discard => Ok(Some(0)),
            Target::Memory { present, .. } => {
                Ok(known.is_none_or(|id| present.contains(&id)).then_some(0))
            }
            Target::Registry(registry) => {
                let size = registry.blob_size(digest).await.map_err(registry_error)?;
                if let Some(size) = size {
                    self.state().present.insert(digest.clone(), size);
                    return Ok(Some(size));
                }
                let Some(diff_id) = known else {
                    return Ok(Some(0));
                };
                let uploaded = layer_cache::find_uploaded(registry, &diff_id).await?;
                Ok(uploaded.map(|blob| blob.size))
            }
        }
    }
}

/// Starts an upload, or answers that the target has the blob that is to be mounted.
async fn begin(shared: &Shared, query: Option<&str>) -> Result<Response> {
    let mount = query.and_then(|q| parameter(q, "mount"));
    if let Some(digest) = mount.and_then(|m| m.parse().ok())
        && shared.size_at_target(&digest).await?.is_some()
    {
        let mut response = status(StatusCode::CREATED);
        let location = format!("/v2/{}/{REPOSITORY}/blobs/{digest}", shared.secret);
        response.headers_mut().insert(LOCATION, value(&location)?);
        return Ok(response);
    }
    let mut random = [0; 16];
    openssl::rand::rand_bytes(&mut random).context("reading random bytes")?;
    let id = edge_common::hex::encode(random);
    shared.state().uploads.insert(id.clone(), Upload::new());
    accepted(shared, &id, 0)
}

async fn append(shared: &Shared, id: &str, request: Request<Incoming>) -> Result<Response> {
    // An upload is taken out while it is written, so two requests cannot mix.
    let Some(mut upload) = shared.take(id) else {
        return Ok(unknown_upload());
    };
    if !read_body(shared, &mut upload, request).await? {
        return Ok(status(StatusCode::BAD_REQUEST));
    }
    let size = upload.size();
    shared.state().uploads.insert(id.into(), upload);
    accepted(shared, id, size)
}

async fn finish(shared: &Shared, id: &str, request: Request<Incoming>) -> Result<Response> {
    let digest = request.uri().query().and_then(|q| parameter(q, "digest"));
    let invalid = || refusal(StatusCode::BAD_REQUEST, "DIGEST_INVALID", "other content");
    let Some(digest) = digest.and_then(|d| d.parse::<Digest>().ok()) else {
        return Ok(invalid());
    };
    let Some(mut upload) = shared.take(id) else {
        return Ok(unknown_upload());
    };
    if !read_body(shared, &mut upload, request).await? {
        return Ok(status(StatusCode::BAD_REQUEST));
    }
    let Some(received) = upload.finish(&digest).await? else {
        return Ok(invalid());
    };
    shared.state().received.insert(digest.clone(), received);
    let mut response = status(StatusCode::CREATED);
    let location = format!("/v2/{}/{REPOSITORY}/blobs/{digest}", shared.secret);
    let headers = response.headers_mut();
    headers.insert(LOCATION, value(&location)?);
    headers.insert("docker-content-digest", value(digest.as_str())?);
    Ok(response)
}

/// Adds a request's body to an upload. Returns false if the connection broke, after which
/// the engine starts again.
async fn read_body(
    shared: &Shared,
    upload: &mut Upload,
    request: Request<Incoming>,
) -> Result<bool> {
    let mut body = request.into_body();
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            return Ok(false);
        };
        if let Ok(bytes) = frame.into_data() {
            upload.add(shared, bytes).await?;
        }
    }
    Ok(true)
}

fn progress(shared: &Shared, id: &str) -> Response {
    let size = shared.state().uploads.get(id).map(Upload::size);
    match size.map(|size| accepted(shared, id, size)) {
        Some(Ok(mut response)) => {
            *response.status_mut() = StatusCode::NO_CONTENT;
            response
        }
        _ => unknown_upload(),
    }
}

async fn manifest(shared: &Shared, request: Request<Incoming>) -> Result<Response> {
    let body = http_body_util::Limited::new(request.into_body(), MAX_MANIFEST_BYTES);
    let Ok(body) = body.collect().await else {
        let why = "the manifest is too large or incomplete";
        return Ok(refusal(StatusCode::BAD_REQUEST, "MANIFEST_INVALID", why));
    };
    let bytes = body.to_bytes().to_vec();
    let digest = Digest::of(&bytes);
    shared.state().manifest = Some(bytes);
    let mut response = status(StatusCode::CREATED);
    let location = format!("/v2/{}/{REPOSITORY}/manifests/{digest}", shared.secret);
    let headers = response.headers_mut();
    headers.insert(LOCATION, value(&location)?);
    headers.insert("docker-content-digest", value(digest.as_str())?);
    Ok(response)
}

impl Shared {
    fn take(&self, id: &str) -> Option<Upload> {
        self.state().uploads.remove(id)
    }
}

fn accepted(shared: &Shared, id: &str, size: u64) -> Result<Response> {
    let mut response = status(StatusCode::ACCEPTED);
    let location = format!("/v2/{}/{REPOSITORY}/blobs/uploads/{id}", shared.secret);
    let headers = response.headers_mut();
    headers.insert(LOCATION, value(&location)?);
    headers.insert("docker-upload-uuid", value(id)?);
    let range = format!("0-{}", size.saturating_sub(1));
    headers.insert(RANGE, value(&range)?);
    Ok(response)
}

fn unknown_upload() -> Response {
    let why = "no such upload";
    refusal(StatusCode::NOT_FOUND, "BLOB_UPLOAD_UNKNOWN", why)
}

fn status(code: StatusCode) -> Response {
    let mut response = Response::default();
    *response.status_mut() = code;
    response
}

fn refusal(code: StatusCode, name: &str, why: &str) -> Response {
    let text = json!({ "errors": [{ "code": name, "message": why }] }).to_string();
    let mut response = Response::new(text.into());
    *response.status_mut() = code;
    let kind = HeaderValue::from_static("application/json");
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

fn value(text: &str) -> Result<HeaderValue> {
    HeaderValue::from_str(text).context("building a response")
}

/// Returns the value of a parameter in a query. Only the colon of a digest can be encoded.
fn parameter(query: &str, name: &str) -> Option<String> {
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let mut values = pairs
        .filter(|(key, _)| *key == name)
        .map(|(_, value)| value);
    values
        .next()
        .map(|v| v.replace("%3A", ":").replace("%3a", ":"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::image::endpoint::Endpoint;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    /// Sends the text of a request and returns the response.
    async fn request(endpoint: &Endpoint, text: &str) -> String {
        let (address, _) = endpoint.name.split_once('/').unwrap();
        let mut stream = TcpStream::connect(address).await.unwrap();
        let text = text.replace("SECRET", &endpoint.shared.secret);
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut response = Vec::new();
        stream.read_to_end(&mut response).await.unwrap();
        String::from_utf8_lossy(&response).into_owned()
    }

    fn text(method: &str, path: &str, body: &str) -> String {
        let length = body.len();
        format!(
            "{method} /v2/{path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\
             Content-Length: {length}\r\n\r\n{body}"
        )
    }

    #[tokio::test]
    async fn only_the_secret_path_is_served() {
        let endpoint = Endpoint::open("sha256:0", Target::Discard).await.unwrap();
        let status = async |method, path, body: &str| {
            let response = request(&endpoint, &text(method, path, body)).await;
            response.split(' ').nth(1).map_or(0, |s| s.parse().unwrap())
        };
        assert_eq!(status("GET", "", "").await, 200);
        for path in [
            "edge-app/blobs/uploads/",
            "/edge-app/blobs/uploads/",
            "secret/edge-app/blobs/uploads/",
            "SECRET/other/blobs/uploads/",
            "SECRET/edge-appx/blobs/uploads/",
            "_catalog",
        ] {
            assert_eq!(status("POST", path, "").await, 404, "{path}");
        }
        assert!(!endpoint.shared.contacted.load(Ordering::Relaxed));
        for (method, path, expected) in [
            ("GET", "SECRET/edge-app/manifests/image", 404),
            ("HEAD", "SECRET/edge-app/blobs/sha256:../..", 404),
            ("PATCH", "SECRET/edge-app/blobs/uploads/absent", 404),
            ("PUT", "SECRET/edge-app/blobs/uploads/absent", 400),
            ("GET", "SECRET/edge-app/blobs/uploads/absent", 404),
            ("POST", "SECRET/edge-app/blobs/uploads/x", 405),
            ("POST", "SECRET/edge-app/blobs/uploads/", 202),
        ] {
            assert_eq!(status(method, path, "").await, expected, "{method} {path}");
        }
        let large = "x".repeat(MAX_MANIFEST_BYTES + 1);
        let path = "SECRET/edge-app/manifests/image";
        assert_eq!(status("PUT", path, &large).await, 400);
        // docker tries TLS first.
        let hello = request(&endpoint, "\x16\x03\x01\0\0\r\n\r\n").await;
        assert!(hello.starts_with("HTTP/1.1 400"), "{hello}");
    }

    #[tokio::test]
    async fn an_upload_must_have_its_digest() {
        let endpoint = Endpoint::open("sha256:0", Target::Discard).await.unwrap();
        for (content, expected) in [("abc", "201"), ("abd", "400")] {
            let begin = text("POST", "SECRET/edge-app/blobs/uploads/", "");
            let begun = request(&endpoint, &begin).await;
            let location = begun.lines().find_map(|l| l.strip_prefix("location: /v2/"));
            let location = location.unwrap().trim();
            let appended = request(&endpoint, &text("PATCH", location, "ab")).await;
            assert!(appended.contains("range: 0-1"), "{appended}");
            let digest = Digest::of(b"abc");
            let end = format!("{location}?digest={}", digest.as_str().replace(':', "%3A"));
            let ended = request(&endpoint, &text("PUT", &end, &content[2..])).await;
            assert!(ended.contains(&format!("HTTP/1.1 {expected}")), "{ended}");
        }
    }
}
