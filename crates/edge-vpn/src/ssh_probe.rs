//! Probe of the device's own SSH server at its address in the VPN. "Connected" is no proof
//! that an engineer can log in; a banner at the address is.

use std::io::Read;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::Result;

use crate::cause::Cause;

/// Port of SSH.
const PORT: u16 = 22;
/// Time limit of one probe.
const PROBE_LIMIT: Duration = Duration::from_secs(3);
/// Longest wait for an sshd that was reloaded.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// Checks that SSH answers at `address` now.
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

/// Waits until SSH answers at `address`.
pub(crate) fn wait(address: IpAddr) -> Result<()> {
    let end = Instant::now() + MAX_WAIT;
    loop {
        match probe(address) {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() >= end => return Err(failure(address, &error)),
            // Nothing reports that another process began to listen.
            Err(_) => std::thread::sleep(Duration::from_millis(100)),
        }
    }
}

/// Returns the error of a failed probe.
pub(crate) fn failure(address: IpAddr, error: &std::io::Error) -> anyhow::Error {
    Cause::Ssh.error(format_args!("SSH does not answer at {address}: {error}"))
}
