//! As much of HTTP/1.1 as docker speaks to its plugins: requests with a length,
//! answers of one object, connections that stay.

use std::io::{self, BufRead, ErrorKind, Read, Write};

/// Longest head of a request, in bytes.
const LARGEST_HEAD: u64 = 64 * 1024;
/// Longest body that is kept, in bytes: 4 MiB as base64, and headers.
pub const LARGEST_BODY: u64 = 8 * 1024 * 1024;
/// The type of every answer.
const TYPE: &str = "application/vnd.docker.plugins.v1.2+json";

/// Method, path and length of a request whose body is still to come.
#[derive(Debug, PartialEq, Eq)]
pub struct Head {
    /// `POST /AuthZPlugin.AuthZReq`
    pub target: String,
    /// Bytes of the body.
    pub length: u64,
}

/// Reads a head; nothing when the other side is done.
///
/// # Errors
/// The connection, or a head of another form.
pub fn head(stream: &mut impl BufRead) -> io::Result<Option<Head>> {
    let mut head = stream.take(LARGEST_HEAD);
    let Some(first) = line(&mut head)? else {
        return Ok(None);
    };
    let target = first.strip_suffix(" HTTP/1.1").ok_or_else(bad)?.to_string();
    let mut length = None;
    loop {
        let line = line(&mut head)?.ok_or_else(bad)?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').ok_or_else(bad)?;
        if name.eq_ignore_ascii_case("content-length") {
            let digits = value.trim();
            let plain = digits.bytes().all(|b| b.is_ascii_digit());
            let value = digits.parse().ok().filter(|_| plain).ok_or_else(bad)?;
            if length.replace(value).is_some() {
                return Err(bad());
            }
        } else if name.eq_ignore_ascii_case("transfer-encoding") {
            return Err(bad());
        }
    }
    let length = length.unwrap_or(0);
    Ok(Some(Head { target, length }))
}

fn line(stream: &mut impl BufRead) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    if stream.read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    let text = line.strip_suffix(b"\n").ok_or_else(bad)?;
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    String::from_utf8(text.to_vec())
        .map(Some)
        .map_err(|_| bad())
}

/// Reads a body to keep it.
///
/// # Errors
/// The connection, or too long.
pub fn body(stream: &mut impl BufRead, length: u64) -> io::Result<Vec<u8>> {
    if length > LARGEST_BODY {
        return Err(bad());
    }
    let mut body = Vec::new();
    if stream.take(length).read_to_end(&mut body)? as u64 != length {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    Ok(body)
}

/// Reads a body to drop it.
///
/// # Errors
/// The connection.
pub fn skip(stream: &mut impl BufRead, length: u64) -> io::Result<()> {
    if io::copy(&mut stream.take(length), &mut io::sink())? != length {
        return Err(ErrorKind::UnexpectedEof.into());
    }
    Ok(())
}

/// Answers.
///
/// # Errors
/// The connection.
pub fn answer(stream: &mut impl Write, status: &str, json: &str) -> io::Result<()> {
    let length = json.len();
    let text = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {TYPE}\r\nContent-Length: {length}\r\n\r\n{json}"
    );
    stream.write_all(text.as_bytes())
}

fn bad() -> io::Error {
    io::Error::new(ErrorKind::InvalidData, "not a request of docker's")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> io::Result<Option<Head>> {
        head(&mut text.as_bytes())
    }

    #[test]
    fn reads_what_docker_sends() {
        let text = "POST /Plugin.Activate HTTP/1.1\r\nHost: x\r\ncontent-length: 12\r\n\r\nrest";
        let head = read(text).unwrap().unwrap();
        assert_eq!(head.target, "POST /Plugin.Activate");
        assert_eq!(head.length, 12);
        assert_eq!(read("").unwrap(), None);
    }

    #[test]
    fn other_heads_are_errors() {
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
    fn bodies_are_whole_or_errors() {
        assert_eq!(body(&mut &b"abcd"[..], 3).unwrap(), b"abc");
        assert!(body(&mut &b"ab"[..], 3).is_err());
        assert!(body(&mut &b""[..], LARGEST_BODY + 1).is_err());
        assert!(skip(&mut &b"ab"[..], 3).is_err() && skip(&mut &b"abc"[..], 3).is_ok());
    }
}
