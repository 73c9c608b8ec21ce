//! Forwarding of TCP ports from other network namespaces to this machine.

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::thread;

use anyhow::{Context, Result, anyhow};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::Namespaces;

/// Forwards `ports` of the loopback in the namespaces to the same ports of this
/// machine's loopback, by threads that live as long as the process.
pub(crate) fn forward(namespaces: &Namespaces, ports: &[u16]) -> Result<()> {
    for port in ports.iter().copied() {
        let network = File::open(namespaces.network()).context("opening the network namespace")?;
        // A socket stays in the network namespace in which it was created, and a
        // thread stays in the namespace that it has entered. So a separate thread
        // creates the socket and ends.
        let listener = thread::spawn(move || -> Result<TcpListener> {
            move_into_link_name_space(network.as_fd(), Some(LinkNameSpaceType::Network))
                .context("entering the network namespace")?;
            TcpListener::bind((Ipv4Addr::LOCALHOST, port))
                .context("listening in the network namespace")
        });
        let listener = listener
            .join()
            .map_err(|_| anyhow!("the thread that listens panicked"))??;
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
