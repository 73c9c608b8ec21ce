//! Probe of the device's own SSH server at its address in the VPN. A connected VPN does
//! not prove that an engineer can log in, but an SSH banner at that address does.

use std::io::Read;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::cause::Cause;

/// TCP port of sshd on the device.
const PORT: u16 = 22;
/// Time limit of the connection and of the banner in one probe.
const PROBE_LIMIT: Duration = Duration::from_secs(3);
/// Longest wait until a reloaded sshd listens on the address.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// Connects to port 22 of `address` once and checks that an SSH banner is received.
pub(crate) fn probe(address: IpAddr) -> std::io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::new(address, PORT), PROBE_LIMIT)?;
    stream.set_read_timeout(Some(PROBE_LIMIT))?;
    let mut banner = [0; 4];
    stream.read_exact(&mut banner)?;
    if banner == *b"SSH-" {
        return Ok(());
    }
    Err(std::io::Error::other("the answer is not SSH's"))
}

/// Waits up to ten seconds until SSH answers at `address`.
pub(crate) fn wait(address: IpAddr) -> Result<()> {
    let end = Instant::now() + MAX_WAIT;
    loop {
        match probe(address) {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() >= end => return Err(failure(address, &error)),
            // Polling: no event reports that another process has begun to listen on a
            // port.
            Err(_) => std::thread::sleep(Duration::from_millis(100)),
        }
    }
}

/// Converts the error of a failed probe to one with the exit code of [`Cause::Ssh`].
pub(crate) fn failure(address: IpAddr, error: &std::io::Error) -> anyhow::Error {
    Cause::Ssh.error(format_args!("SSH does not answer at {address}: {error}"))
}
