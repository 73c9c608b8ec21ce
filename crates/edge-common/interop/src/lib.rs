//! MQTT clients beside each other: each program connects to a broker with mutual TLS,
//! publishes one message with QoS 1 and waits for its acknowledgement.
//! `cargo xtask bench mqtt` measures them.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// Time limit of a step, as in the tools of the device.
pub const LIMIT: Duration = Duration::from_secs(10);
/// Keep-alive in seconds.
pub const KEEP_ALIVE: u16 = 60;
/// Topic of the message.
pub const TOPIC: &str = "bench/report";
/// Size of the message in bytes, that of a report of edge-heartbeat.
const PAYLOAD_BYTES: usize = 2000;

/// Arguments of a client: the directory of the credentials, host and port.
pub struct Broker {
    pub directory: PathBuf,
    pub host: String,
    pub port: u16,
}

impl Broker {
    /// Returns the path of a file of the credentials.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    /// Reads a file of the credentials.
    pub fn read(&self, name: &str) -> Result<Vec<u8>> {
        let path = self.path(name);
        std::fs::read(&path).with_context(|| format!("reading {}", path.display()))
    }
}

/// Returns the message.
pub fn payload() -> Vec<u8> {
    vec![b'x'; PAYLOAD_BYTES]
}

/// Runs a client with the arguments of the program and prints the seconds until the
/// message is acknowledged.
pub fn run(client: impl FnOnce(&Broker, &dyn Fn()) -> Result<()>) -> Result<()> {
    let args: Vec<_> = std::env::args().collect();
    let [_, directory, host, port] = &args[..] else {
        anyhow::bail!("arguments: DIRECTORY HOST PORT");
    };
    let broker = Broker {
        directory: Path::new(directory).into(),
        host: host.clone(),
        port: port.parse().context("parsing the port")?,
    };
    let begin = Instant::now();
    client(&broker, &|| println!("{}", begin.elapsed().as_secs_f64()))
}
