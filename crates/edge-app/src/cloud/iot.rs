//! Control plane of AWS IoT: jobs, thing groups and the index of things. The SDK's client of
//! IoT is larger than all other SDK crates of edge-app together, so the few requests are
//! signed with the SDK's own signer and sent with its connector.

use std::time::{Duration, SystemTime};

use anyhow::{Context, Result};
use aws_config::SdkConfig;
use aws_credential_types::provider::ProvideCredentials as _;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use aws_smithy_http_client::Connector;
use aws_smithy_runtime_api::client::http::HttpConnector as _;
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::byte_stream::ByteStream;
use edge_common::exit::Failure;
use serde_json::{Value, json};

use super::{config, connector};
use crate::exit_code::REGISTRY;

/// Name of the service in signatures.
const SERVICE: &str = "iot";
/// Size limit of a response, in bytes.
const MAX_RESPONSE_BYTES: usize = 4 * 1024 * 1024;
/// Limit for one request and its response.
const TIMEOUT: Duration = Duration::from_secs(30);
/// Tries of a request that AWS throttles or does not answer.
const TRIES: u32 = 6;

/// Client of the control plane, with the user's AWS configuration.
pub(crate) struct Iot {
    config: SdkConfig,
    connector: Connector,
    endpoint: String,
    region: String,
}

/// Answer of AWS that is an error.
#[derive(Debug)]
pub(crate) struct Refused {
    /// Error type, for example `ResourceNotFoundException`.
    pub(crate) kind: String,
    message: String,
}

impl Refused {
    /// Returns whether AWS has no such job, thing or group.
    pub(crate) fn is_absent(&self) -> bool {
        self.kind == "ResourceNotFoundException"
    }

    /// Returns the error for the user, with what was attempted.
    pub(crate) fn error(&self, action: &str) -> anyhow::Error {
        let message = format!("{action}: {}: {}", self.kind, self.message);
        Failure::error(REGISTRY, message)
    }
}

impl Iot {
    /// Loads the user's AWS configuration. No request is sent yet.
    pub(crate) async fn new() -> Result<Self> {
        let config = config().await;
        let region = config.region().map(ToString::to_string);
        let why = "no AWS region: set AWS_REGION, or region in the AWS profile";
        let region = region.ok_or_else(|| Failure::error(REGISTRY, why))?;
        let own = std::env::var("AWS_ENDPOINT_URL_IOT").ok();
        let endpoint = own.or_else(|| config.endpoint_url().map(String::from));
        let suffix = match region.starts_with("cn-") {
            true => "amazonaws.com.cn",
            false => "amazonaws.com",
        };
        Ok(Self {
            connector: connector(None, None),
            endpoint: endpoint.unwrap_or_else(|| format!("https://iot.{region}.{suffix}")),
            region,
            config,
        })
    }

    /// Sends a request with an absolute path and returns the JSON of the response. AWS's
    /// quota is ten requests of a kind in a second, so throttled ones are repeated.
    ///
    /// # Errors
    /// If AWS refuses the request, or does not answer.
    pub(crate) async fn call(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Result<Value, Refused>> {
        let mut pause = Duration::from_millis(200);
        for attempt in 1.. {
            let sent = tokio::time::timeout(TIMEOUT, self.send(method, path, body)).await;
            let last = attempt >= TRIES;
            match sent {
                Ok(Ok((status, answer))) if status < 300 => return Ok(Ok(answer)),
                Ok(Ok((status, answer))) => {
                    let refused = refusal(status, &answer);
                    let again = status == 429 || status >= 500 || refused.kind.contains("Throttl");
                    if last || !again {
                        return Ok(Err(refused));
                    }
                }
                Ok(Err(error)) if last => return Err(error),
                Err(_) if last => {
                    let why = format!("{} does not answer", self.endpoint);
                    return Err(Failure::error(REGISTRY, why));
                }
                Ok(Err(_)) | Err(_) => {}
            }
            tokio::time::sleep(pause).await;
            pause *= 2;
        }
        unreachable!("the loop ends with its last try")
    }

    async fn send(&self, method: &str, path: &str, body: Option<&Value>) -> Result<(u16, Value)> {
        let url = format!("{}{path}", self.endpoint.trim_end_matches('/'));
        let bytes = body.map_or(Vec::new(), |body| body.to_string().into_bytes());
        let headers = [("content-type", "application/json")];
        let signed = self.signature(method, &url, headers, &bytes).await?;
        let mut request = hyper::Request::builder().method(method).uri(&url);
        for (name, value) in headers {
            request = request.header(name, value);
        }
        for (name, value) in signed {
            request = request.header(name, value);
        }
        let request = request
            .body(SdkBody::from(bytes))
            .context("preparing a request")?;
        let request = HttpRequest::try_from(request).context("preparing a request")?;
        let response = self.connector.call(request).await;
        let response = response.map_err(|error| {
            super::failure(REGISTRY, &format!("asking {}", self.endpoint), error)
        })?;
        read(response).await
    }

    /// Returns the headers of the signature of a request.
    async fn signature(
        &self,
        method: &str,
        url: &str,
        headers: [(&str, &str); 1],
        body: &[u8],
    ) -> Result<Vec<(&'static str, String)>> {
        let provider = self.config.credentials_provider();
        let why = "no AWS credentials: run aws sso login, or set AWS_PROFILE";
        let provider = provider.ok_or_else(|| Failure::error(REGISTRY, why))?;
        let credentials = provider.provide_credentials().await;
        let credentials = credentials
            .map_err(|error| super::failure(REGISTRY, "reading the AWS credentials", error))?;
        let identity = credentials.into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region(&self.region)
            .name(SERVICE)
            .time(SystemTime::now())
            .settings(SigningSettings::default())
            .build()
            .context("preparing a signature")?
            .into();
        let body = SignableBody::Bytes(body);
        let request = SignableRequest::new(method, url, headers.into_iter(), body);
        let request = request.context("preparing a signature")?;
        let (instructions, _) = sign(request, &params)
            .context("signing a request")?
            .into_parts();
        let (headers, _) = instructions.into_parts();
        Ok(headers
            .iter()
            .map(|header| (header.name(), header.value().to_string()))
            .collect())
    }
}

/// Reads a response within the size limit. An error need not be JSON.
async fn read(response: HttpResponse) -> Result<(u16, Value)> {
    let status = response.status().as_u16();
    let kind = response.headers().get("x-amzn-errortype").map(String::from);
    let mut stream = ByteStream::new(response.into_body());
    let mut bytes = Vec::new();
    while let Some(chunk) = stream.try_next().await.context("reading a response")? {
        bytes.extend_from_slice(&chunk);
        if bytes.len() > MAX_RESPONSE_BYTES {
            let why = format!("AWS IoT sent more than {MAX_RESPONSE_BYTES} bytes");
            return Err(Failure::error(REGISTRY, why));
        }
    }
    if bytes.is_empty() && status < 300 {
        return Ok((status, json!({})));
    }
    match serde_json::from_slice::<Value>(&bytes) {
        Ok(mut value) => {
            if let (Some(kind), true) = (kind, value.is_object() && status >= 300) {
                value["__type"] = kind.into();
            }
            Ok((status, value))
        }
        Err(_) if status >= 300 => Ok((status, json!({ "__type": kind }))),
        Err(error) => Err(Failure::error(
            REGISTRY,
            format_args!("the response of AWS IoT is not JSON: {error}"),
        )),
    }
}

fn refusal(status: u16, answer: &Value) -> Refused {
    let text = |name: &str| answer[name].as_str().unwrap_or_default().to_string();
    let kind = match text("__type") {
        kind if kind.is_empty() => format!("status {status}"),
        // AWS appends an address after a colon.
        kind => kind.split(':').next().unwrap_or_default().into(),
    };
    Refused {
        kind,
        message: text("message"),
    }
}
