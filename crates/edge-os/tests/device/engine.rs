//! Container engine of a device in a directory.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixListener;

use serde_json::json;

use super::Device;

/// Starts an engine with one signed app in a state, and an answer to containers that
/// nobody has asked edge-docker for.
pub fn engine(device: &Device, status: &'static str, unsigned: u16) {
    let path = device.path("/run/docker.sock");
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let _ = fs::remove_file(&path);
    let listener = UnixListener::bind(path).unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let mut head = [0; 4096];
            // A client that is killed reads no answer.
            let Ok(length) = stream.read(&mut head) else {
                continue;
            };
            let head = String::from_utf8_lossy(&head[..length]).into_owned();
            let app = |name: &str, labels| {
                json!({"Id": name, "State": "running", "Status": status,
                    "Names": [format!("/{name}")], "Labels": labels})
            };
            let (code, body) = if head.starts_with("POST") {
                (unsigned, json!({"message": "authorization denied"}))
            } else if head.contains("/json?all") {
                let list = json!([
                    app("camera", json!({"edge.app": "camera"})),
                    app("camera-previous", json!({"edge.app": "camera"})),
                    app("toy", json!({"edge.app": "", "edge.sandbox": "toy"})),
                ]);
                (200, list)
            } else {
                let check = json!({"Interval": 30_000_000_000_u64, "Retries": 3,
                    "StartPeriod": 600_000_000_000_u64});
                (200, json!({"Config": {"Healthcheck": check}}))
            };
            let answer = format!("HTTP/1.0 {code} X\r\n\r\n{body}");
            let _ = stream.write_all(answer.as_bytes());
        }
    });
}
