//! Control plane of AWS IoT at the strict endpoint, with scripted faults.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::json;

use super::fault::{Kind, Stage};
use super::{Shared, lock};
use crate::cloud::jobs::Response;
use crate::cloud::{control, http};

/// Limit for one read or write.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Handles each connection in a thread, until the endpoint ends.
pub(super) fn accept(listener: &TcpListener, shared: &Arc<Shared>) {
    for stream in listener.incoming().flatten() {
        if shared.over.load(Ordering::Relaxed) {
            return;
        }
        let shared = Arc::clone(shared);
        // An error closes the connection, which the client reports.
        std::thread::spawn(move || handle(stream, &shared));
    }
}

fn handle(mut stream: TcpStream, shared: &Shared) -> io::Result<()> {
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    let request = http::Request::read(&mut stream)?;
    let fault = lock(&shared.script).next(Stage::Control);
    let refused = |status, error, message: &str| Response {
        status,
        error: Some(error),
        body: json!({ "message": message }),
    };
    let response = match fault {
        Some(Kind::Dropped) => return Ok(()),
        Some(Kind::Silent) => {
            std::thread::sleep(Duration::from_secs(60));
            return Ok(());
        }
        Some(Kind::Throttled) => refused(400, "ThrottlingException", "Rate exceeded"),
        Some(Kind::Broken) => refused(503, "ServiceUnavailableException", "Internal error"),
        _ => control::answer(&request, &shared.jobs),
    };
    shared.note("control", response.error.is_none());
    match fault {
        Some(Kind::Lost) => return Ok(()),
        Some(Kind::Late(time)) => std::thread::sleep(time),
        _ => {}
    }
    let mut body = response.body.to_string();
    if fault == Some(Kind::Malformed) {
        body.truncate(1);
    }
    http::respond(&mut stream, response.status, response.error, &body)
}
