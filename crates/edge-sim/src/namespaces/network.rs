//! Ports of this machine on the loopback of other namespaces.

use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::thread;

use anyhow::{Context, Result, anyhow};
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::Namespaces;

/// Forwards `ports` of the loopback in the namespaces to the loopback of this
/// machine, by threads that live as long as the process.
pub(crate) fn forward(namespaces: &Namespaces, ports: &[u16]) -> Result<()> {
    for port in ports.iter().copied() {
        let network = File::open(namespaces.network()).context("opening the network namespace")?;
        // A socket stays in the network namespace in which it was created, a thread
        // that entered one cannot return: so the thread only creates the socket.
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
