//! HTTP/1.1 server for docker's plugin protocol: requests with `Content-Length`,
//! responses with one JSON object, persistent connections.
//!
//! hyper is not used: it accepts all of HTTP, whereas every form that docker does not
//! send is an error here. One thread per connection needs no async runtime.

use std::io::{self, BufRead, ErrorKind, Read, Write};

/// Size limit of a request line together with its headers, in bytes.
const MAX_HEAD_BYTES: u64 = 64 * 1024;
/// Size limit of a request body that is read into memory, in bytes. The body contains at
/// most 4 MiB of the request to the engine, which base64 enlarges by a third, and its
/// headers.
const MAX_BODY_BYTES: u64 = 8 * 1024 * 1024;
/// Value of `Content-Type` in every response to the engine.
const CONTENT_TYPE: &str = "application/vnd.docker.plugins.v1.2+json";

/// Request line and body length of a request whose body has not been read yet.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Head {
    /// Method and path without the HTTP version, for example `POST
    /// /AuthZPlugin.AuthZReq`.
    pub(super) target: String,
    /// Length of the body in bytes, from `Content-Length`; 0 without this header.
    pub(super) length: u64,
}

/// Reads the request line and the headers of the next request. Returns `None` if the
/// connection was closed before it.
pub(super) fn head(stream: &mut impl BufRead) -> io::Result<Option<Head>> {
    let mut head = stream.take(MAX_HEAD_BYTES);
    let Some(first) = line(&mut head)? else {
        return Ok(None);
    };
    let target = first.strip_suffix(" HTTP/1.1");
    let target = target.ok_or_else(malformed)?.to_string();
    let mut length = None;
    loop {
        let line = line(&mut head)?.ok_or_else(malformed)?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').ok_or_else(malformed)?;
        // The length determines where the next request begins. With two lengths, or a
        // length and chunked encoding, this is ambiguous, and a part of a body could be
        // read as a request.
        if name.eq_ignore_ascii_case("content-length") {
            let digits = value.trim();
            // `parse` alone would also accept a sign, for example `+1`.
            let plain = digits.bytes().all(|b| b.is_ascii_digit());
            let value = digits.parse().ok().filter(|_| plain);
            if length.replace(value.ok_or_else(malformed)?).is_some() {
                return Err(malformed());
            }
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(malformed());
        }
    }
    let length = length.unwrap_or(0);
    Ok(Some(Head { target, length }))
}

/// Reads one line and returns it without the line ending, LF or CRLF. Returns `None` at
/// the end of the connection.
fn line(stream: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    if stream.read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    let text = line.strip_suffix(b"\n").ok_or_else(malformed)?;
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    String::from_utf8(text.to_vec())
        .map(Some)
        .map_err(|_| malformed())
}

/// Reads a request body of `length` bytes. More than [`MAX_BODY_BYTES`] are an error.
pub(super) fn body(stream: &mut impl BufRead, length: u64) -> io::Result<Vec<u8>> {
    if length > MAX_BODY_BYTES {
        return Err(malformed());
    }
    let mut body = Vec::new();
    if stream.take(length).read_to_end(&mut body)? as u64 != length {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    Ok(body)
}

/// Reads a request body of `length` bytes and discards it, so that the next request on
/// the connection can be read.
pub(super) fn skip(stream: &mut impl BufRead, length: u64) -> io::Result<()> {
    if io::copy(&mut stream.take(length), &mut io::sink())? != length {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    Ok(())
}

/// Writes a response with the status line `HTTP/1.1 {status}` and the body `json`.
pub(super) fn respond(stream: &mut impl Write, status: &str, json: &str) -> io::Result<()> {
    let length = json.len();
    // One write for headers and body, because the engine waits for the whole response.
    let response = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {CONTENT_TYPE}\r\nContent-Length: {length}\r\n\r\n{json}"
    );
    stream.write_all(response.as_bytes())
}

fn malformed() -> io::Error {
    io::Error::new(ErrorKind::InvalidData, "malformed HTTP request")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> io::Result<Option<Head>> {
        head(&mut text.as_bytes())
    }

    #[test]
    fn requests_of_docker_are_read() {
        let text = "POST /Plugin.Activate HTTP/1.1\r\nHost: x\r\ncontent-length: 12\r\n\r\nrest";
        let head = read(text).unwrap().unwrap();
        assert_eq!(head.target, "POST /Plugin.Activate");
        assert_eq!(head.length, 12);
        assert_eq!(read("").unwrap(), None);
    }

    #[test]
    fn malformed_heads_are_errors() {
        let long = format!("POST / HTTP/1.1\r\nA: {}\r\n\r\n", "x".repeat(70_000));
        for text in [
            "POST / HTTP/1.0\r\n\r\n",
            "POST /",
            "POST / HTTP/1.1\r\n",
            "POST / HTTP/1.1\r\nno colon\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: +1\r\n\r\n",
            "POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
            "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
            &long,
        ] {
            assert!(read(text).is_err(), "{}", &text[..text.len().min(80)]);
        }
    }

    #[test]
    fn truncated_and_oversized_bodies_are_errors() {
        assert_eq!(body(&mut &b"abcd"[..], 3).unwrap(), b"abc");
        assert!(body(&mut &b"ab"[..], 3).is_err());
        assert!(body(&mut &b""[..], MAX_BODY_BYTES + 1).is_err());
        assert!(skip(&mut &b"ab"[..], 3).is_err() && skip(&mut &b"abc"[..], 3).is_ok());
    }
}
