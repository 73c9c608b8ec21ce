//! Control plane of AWS IoT on a port of 127.0.0.1: REST requests about jobs and thing groups,
//! with verified signatures.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::Context;
use edge_common::log;
use serde_json::json;

use super::aws::REGION;
use super::http::{self, Request};
use super::jobs::{Call, Response};
use super::jobs_service::JobsService;
use super::sigv4::{self, Scope, Secret};

/// Access key of an operator, and its secret.
pub(crate) const OPERATOR: (&str, &str) = ("test", "test");
/// Limit for one read or write.
const TIMEOUT: Duration = Duration::from_secs(10);
const SCOPE: Scope = Scope {
    region: REGION,
    service: "iot",
};

/// Handles each connection in a thread, as long as the process runs.
pub(crate) fn serve(listener: &TcpListener, service: &Arc<JobsService>) {
    for stream in listener.incoming().flatten() {
        let service = Arc::clone(service);
        std::thread::spawn(move || {
            if let Err(error) = handle(stream, &service) {
                log::warn(format_args!("control plane: {error}"));
            }
        });
    }
}

fn handle(mut stream: TcpStream, service: &JobsService) -> io::Result<()> {
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let request = Request::read(&mut stream)?;
    let response = answer(&request, service);
    let body = response.body.to_string();
    http::respond(&mut stream, response.status, response.error, &body)
}

/// Answers a request whose signature verifies.
pub(crate) fn answer(request: &Request, service: &JobsService) -> Response {
    let refused = |error: &'static str, message: String| Response {
        status: 403,
        error: Some(error),
        body: json!({ "message": message }),
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let secret = |key: &str| {
        (key == OPERATOR.0).then(|| Secret {
            key: OPERATOR.1.into(),
            token: None,
            expires: None,
        })
    };
    let now = now.map_or(0, |now| now.as_secs());
    if let Err((error, message)) = sigv4::verify(request, &SCOPE, now, secret) {
        return refused(error, message);
    }
    if (request.method.as_str(), request.path.as_str()) == ("POST", "/indices/search") {
        return service.search(&request.body);
    }
    match call(request).context("decoding the request") {
        Ok(call) => {
            let response = service.call(&call);
            log::info(format_args!(
                "{} {} → {}",
                call.method, call.path, response.status
            ));
            response
        }
        Err(error) => Response {
            status: 400,
            ..refused("InvalidRequestException", format!("{error:#}"))
        },
    }
}

fn call(request: &Request) -> Option<Call> {
    // Levels are decoded one by one: an encoded slash separates none.
    let levels: Option<Vec<_>> = request.path.split('/').map(http::decode).collect();
    let levels = levels?;
    if levels.iter().any(|level| level.contains('/')) {
        return None;
    }
    Some(Call {
        method: request.method.clone(),
        path: levels.join("/"),
        query: request.parameters()?,
        body: request.body.clone(),
    })
}
