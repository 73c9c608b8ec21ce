//! Stands where the engine's socket is, answers as it would, keeps what it is
//! request. HTTP/1.1 by hand: what arrives is looked at as raw bytes.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

/// One request.
#[derive(Debug, Clone)]
pub struct Request {
    pub method: String,
    pub target: String,
    pub body: Vec<u8>,
}

#[derive(Default)]
struct State {
    requests: Vec<Request>,
    images: BTreeMap<String, String>,
    containers: BTreeMap<String, Value>,
    /// Minor version of the API; 0 stands for 41.
    minor: u32,
}

/// Knows images and containers, and what it was request.
#[derive(Clone, Default)]
pub struct Recorder(Arc<Mutex<State>>);

impl Recorder {
    /// Listens at `socket` until the test ends.
    pub fn start(socket: &Path) -> Self {
        let recorder = Self::default();
        let listener = UnixListener::bind(socket).unwrap();
        let this = recorder.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let this = this.clone();
                std::thread::spawn(move || this.serve(&stream));
            }
        });
        recorder
    }

    pub fn image(&self, name: &str, id: &str) {
        let mut state = self.0.lock().unwrap();
        state.images.insert(name.into(), id.into());
    }

    pub fn container(&self, name: &str, found: Value) {
        let mut state = self.0.lock().unwrap();
        state.containers.insert(name.into(), found);
    }

    /// Sets the minor version of the API, which is 41 before.
    pub fn set_minor(&self, minor: u32) {
        self.0.lock().unwrap().minor = minor;
    }

    fn version(&self) -> String {
        let minor = self.0.lock().unwrap().minor;
        format!("1.{}", if minor == 0 { 41 } else { minor })
    }

    /// Everything request since the last call.
    pub fn take(&self) -> Vec<Request> {
        std::mem::take(&mut self.0.lock().unwrap().requests)
    }

    fn serve(&self, stream: &UnixStream) {
        let mut reader = BufReader::new(stream);
        while let Some(request) = read(&mut reader) {
            let (status, answer) = self.answer(&request);
            if request.method != "GET" && request.method != "HEAD" {
                self.0.lock().unwrap().requests.push(request.clone());
            }
            let body = if request.method == "HEAD" || status == 204 {
                String::new()
            } else {
                answer.to_string()
            };
            let head = format!(
                "HTTP/1.1 {status} X\r\nApi-Version: {}\r\nOstype: linux\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
                self.version(),
                body.len()
            );
            let mut writer = stream;
            if status == 101 {
                let head = "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n";
                let _ = writer.write_all(head.as_bytes());
                return;
            }
            if writer.write_all((head + &body).as_bytes()).is_err() {
                return;
            }
        }
    }

    fn answer(&self, request: &Request) -> (u16, Value) {
        let path = request.target.split('?').next().unwrap_or_default();
        let path = match path.strip_prefix("/v") {
            Some(rest) => rest.find('/').map_or("", |i| &rest[i..]),
            None => path,
        };
        if path == "/version" {
            return (200, json!({ "ApiVersion": self.version() }));
        }
        let state = self.0.lock().unwrap();
        let missing = || (404, json!({ "message": "no such thing" }));
        if let Some(name) = path
            .strip_prefix("/images/")
            .and_then(|p| p.strip_suffix("/json"))
        {
            let found = state.images.get(name);
            return found.map_or_else(missing, |id| (200, json!({ "Id": id, "Config": {} })));
        }
        if path == "/containers/json" || path == "/images/json" {
            return (200, json!([]));
        }
        if let Some(name) = path
            .strip_prefix("/containers/")
            .and_then(|p| p.strip_suffix("/json"))
        {
            // As the engine does, by name or by ID.
            let by_id = || state.containers.values().find(|c| c["Id"] == name);
            let found = state.containers.get(name).or_else(by_id);
            return found.map_or_else(missing, |c| (200, c.clone()));
        }
        match path {
            "/_ping" => (200, json!("OK")),
            "/containers/create" => (201, json!({ "Id": "c0".repeat(32), "Warnings": [] })),
            _ if path.ends_with("/attach") => (101, Value::Null),
            _ if path.ends_with("/wait") => (200, json!({ "StatusCode": 0 })),
            _ if path.ends_with("/start") => (204, Value::Null),
            _ if path.ends_with("/tag") => (201, Value::Null),
            _ => (200, json!({})),
        }
    }
}

fn read(reader: &mut impl BufRead) -> Option<Request> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_string(), words.next()?.to_string());
    let (mut length, mut chunked) = (0, false);
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok()?;
        let header = header.trim().to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        if let Some(value) = header.strip_prefix("content-length:") {
            length = value.trim().parse().ok()?;
        }
        chunked |= header == "transfer-encoding: chunked";
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    while chunked {
        let mut size = String::new();
        reader.read_line(&mut size).ok()?;
        let size = usize::from_str_radix(size.trim(), 16).ok()?;
        let mut chunk = vec![0; size + 2];
        reader.read_exact(&mut chunk).ok()?;
        body.extend_from_slice(&chunk[..size]);
        chunked = size > 0;
    }
    Some(Request {
        method,
        target,
        body,
    })
}
