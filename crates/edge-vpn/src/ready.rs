//! Whether the device can be reached: an SSH banner on its own address.

use std::io::Read;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::cause::Cause;
use anyhow::Result;

/// Where SSH is.
const PORT: u16 = 22;
/// Limit of one look.
const LOOK: Duration = Duration::from_secs(3);
/// How long a reloaded sshd is waited for.
const LIMIT: Duration = Duration::from_secs(10);

/// Does SSH answer there now?
///
/// # Errors
/// Why not.
pub fn look(address: IpAddr) -> std::io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&SocketAddr::new(address, PORT), LOOK)?;
    stream.set_read_timeout(Some(LOOK))?;
    let mut banner = [0; 4];
    stream.read_exact(&mut banner)?;
    if banner == *b"SSH-" {
        return Ok(());
    }
    Err(std::io::Error::other("what answers is not SSH"))
}

/// Waits until SSH answers there.
///
/// # Errors
/// It does not: exit code 12.
pub fn wait(address: IpAddr) -> Result<()> {
    let end = Instant::now() + LIMIT;
    loop {
        match look(address) {
            Ok(()) => return Ok(()),
            Err(error) if Instant::now() >= end => {
                return Err(
                    Cause::Ssh.error(format_args!("SSH does not answer at {address}: {error}"))
                );
            }
            // Nothing tells when a socket is listened on.
            Err(_) => std::thread::sleep(Duration::from_millis(100)),
        }
    }
}
