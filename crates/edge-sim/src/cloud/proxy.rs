//! HTTP proxy for clients on this machine, which cannot resolve the host name of
//! the local cloud. The proxy supports only CONNECT, and connects only to ports of
//! 127.0.0.1.

use std::io::{BufRead, BufReader, Write, copy};
use std::net::{Shutdown, TcpListener, TcpStream};

use anyhow::{Context, Result};

use super::HOST;

/// Listens on `port` of 127.0.0.1 and handles each connection in a thread, as long
/// as the process runs.
pub(crate) fn serve(port: u16) -> Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", port)).context("listening")?;
    for client in listener.incoming().flatten() {
        std::thread::spawn(move || tunnel(client));
    }
    Ok(())
}

fn tunnel(mut client: TcpStream) -> Result<()> {
    let mut reader = BufReader::new(client.try_clone()?);
    let mut request = String::new();
    reader.read_line(&mut request)?;
    let mut line = String::new();
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    let target = request
        .strip_prefix("CONNECT ")
        .and_then(|r| r.split(' ').next());
    let port = target.and_then(|t| t.strip_prefix(HOST)?.strip_prefix(':')?.parse::<u16>().ok());
    let Some(port) = port else {
        client.write_all(b"HTTP/1.1 403 Forbidden\r\n\r\n")?;
        return Ok(());
    };
    let mut server = TcpStream::connect(("127.0.0.1", port))?;
    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
    let (mut back_from, mut back_to) = (server.try_clone()?, client.try_clone()?);
    let back = std::thread::spawn(move || {
        let _ = copy(&mut back_from, &mut back_to);
        let _ = back_to.shutdown(Shutdown::Write);
    });
    copy(&mut reader, &mut server)?;
    server.shutdown(Shutdown::Write)?;
    let _ = back.join();
    Ok(())
}
