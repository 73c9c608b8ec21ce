//! Ports of this machine on the loopback of a network of its own.

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::thread;

use anyhow::{Context, Result, anyhow};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Lets `ports` of the loopback that the process `pid` sees lead to ours. The
/// way ends with that network.
///
/// # Errors
/// A port that is taken there.
pub fn forward(pid: u32, ports: &[u16]) -> Result<()> {
    for port in ports.iter().copied() {
        let there = File::open(format!("/proc/{pid}/ns/net")).context("finding the network")?;
        // A socket belongs to the network that its thread was in.
        let listener = thread::spawn(move || -> Result<TcpListener> {
            move_into_link_name_space(there.as_fd(), Some(LinkNameSpaceType::Network))
                .context("entering the device's network")?;
            TcpListener::bind((Ipv4Addr::LOCALHOST, port)).context("listening on the device")
        });
        let listener = listener.join().map_err(|_| anyhow!("a thread ended"))??;
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                thread::spawn(move || join(&stream, port));
            }
        });
    }
    Ok(())
}

fn join(near: &TcpStream, port: u16) -> io::Result<()> {
    let far = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
    thread::scope(|scope| {
        scope.spawn(|| {
            let _ = io::copy(&mut &*near, &mut &far);
            far.shutdown(Shutdown::Write)
        });
        let _ = io::copy(&mut &far, &mut &*near);
        near.shutdown(Shutdown::Write)
    })
}
