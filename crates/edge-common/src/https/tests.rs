//! Responses that servers send, in one piece and byte by byte.

use std::io::{self, Read};
use std::ops::RangeInclusive;

use super::message::MAX_HEAD_BYTES;
use super::response::read;
use super::*;

/// Bytes of a server in pieces; a server that sends no more is silent.
struct Pieces<'a>(&'a [u8], usize);

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.0.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let (piece, rest) = self.0.split_at(self.1.min(buffer.len()).min(self.0.len()));
        buffer[..piece.len()].copy_from_slice(piece);
        self.0 = rest;
        Ok(piece.len())
    }
}

fn request() -> Request<'static> {
    Request::get("host.example", "/", 20)
}

/// Reads a response in one piece and in pieces of 1 and 7 bytes, which must agree.
fn parsed(request: &Request, text: &str) -> Result<Response, Error> {
    let [whole, single, seven] =
        [usize::MAX, 1, 7].map(|size| read(&mut Pieces(text.as_bytes(), size), request));
    let shown = |result: &Result<Response, Error>| match result {
        Ok(response) => format!("{} {:?}", response.status, response.body),
        Err(error) => error.to_string(),
    };
    // Bytes after the end are seen only if they come with it.
    if !shown(&whole).contains("bytes follow") {
        assert_eq!(shown(&whole), shown(&single), "{text:.200}");
        assert_eq!(shown(&whole), shown(&seven), "{text:.200}");
    }
    whole
}

fn failure(text: &str) -> (ErrorKind, String) {
    match parsed(&request(), text) {
        Ok(response) => panic!("accepted {text:.200?}: {:?}", response.body),
        Err(error) => (error.kind, error.to_string()),
    }
}

#[test]
fn bodies_end_where_the_response_says() {
    for (text, status, body) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 200, "ok"),
        ("HTTP/1.1 200 \r\ncontent-length:\t0 \r\n\r\n", 200, ""),
        ("HTTP/1.1 204\r\nx: y\r\n\r\n", 204, ""),
        ("HTTP/1.1 304 Not Modified\r\n\r\n", 304, ""),
        (
            "HTTP/1.1 403 Forbidden\r\ncontent-length: 3\r\n\r\nno!",
            403,
            "no!",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n2\r\nab\r\n0A\r\n0123456789\r\n0\r\n\r\n",
            200,
            "ab0123456789",
        ),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\nx-later: 1\r\n\r\n",
            200,
            "",
        ),
        (
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 -\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\na",
            200,
            "a",
        ),
        (
            "HTTP/1.1 200 OK\r\ncontent-encoding: identity\r\ncontent-length: 1\r\n\r\na",
            200,
            "a",
        ),
    ] {
        let response = parsed(&request(), text).unwrap();
        let seen = (response.status, response.body.as_slice());
        assert_eq!(seen, (status, body.as_bytes()), "{text}");
    }
}

#[test]
fn redirects_are_returned() {
    let location = "https://other.example/?signature=x";
    let text = format!("HTTP/1.1 307 -\r\nLocation: {location}\r\ncontent-length: 0\r\n\r\n");
    let response = parsed(&request(), &text).unwrap();
    assert_eq!(response.header("location"), Some(location));
    let twice = text.replace("content-length", "location: /\r\ncontent-length");
    assert_eq!(parsed(&request(), &twice).unwrap().header("location"), None);
}

#[test]
fn responses_with_two_meanings_are_errors() {
    let length = "content-length: 1\r\n";
    let chunked = "transfer-encoding: chunked\r\n";
    let of = |headers: &str, body: &str| format!("HTTP/1.1 200 OK\r\n{headers}\r\n{body}");
    for (text, message) in [
        (
            of(&format!("{length}{chunked}"), "1\r\na\r\n0\r\n\r\n"),
            "two lengths",
        ),
        (of(&length.repeat(2), "a"), "content-length twice"),
        (
            of(&chunked.repeat(2), "0\r\n\r\n"),
            "transfer-encoding twice",
        ),
        (of("", "a"), "does not state its length"),
        (of("content-length: 1, 1\r\n", "a"), "not a number"),
        (of("content-length: +1\r\n", "a"), "not a number"),
        (of("content-length: -1\r\n", "a"), "not a number"),
        (of("content-length: 0x1\r\n", "a"), "not a number"),
        (of("content-length: \r\n", "a"), "not a number"),
        (
            of("content-length: 00000000000000000001\r\n", "a"),
            "not a number",
        ),
        (
            of("content-length: 18446744073709551617\r\n", "a"),
            "not a number",
        ),
        (of("content-length: 21\r\n", ""), "larger than 20"),
        (
            of("content-length: 9999999999999999999\r\n", ""),
            "larger than 20",
        ),
        (of("content-length : 1\r\n", "a"), "malformed"),
        (of("x: y\r\n content-length: 1\r\n", "a"), "malformed"),
        (of("content-length: 1\n", "a"), "malformed"),
        (of("x: a\rcontent-length: 1\r\n", "a"), "malformed"),
        (of("x: \0\r\n", "a"), "malformed"),
        (of("no colon\r\n", "a"), "malformed"),
        (of(": 1\r\n", "a"), "malformed"),
        (
            of("transfer-encoding: gzip, chunked\r\n", "0\r\n\r\n"),
            "another encoding",
        ),
        (
            of("transfer-encoding: identity\r\n", "a"),
            "another encoding",
        ),
        (
            of("content-encoding: gzip\r\ncontent-length: 1\r\n", "a"),
            "is encoded",
        ),
        (of(length, "aHTTP/1.1 200 OK\r\n"), "bytes follow"),
        (of(chunked, "0\r\n\r\nx"), "bytes follow"),
        ("HTTP/1.1 204 -\r\n\r\nx".into(), "bytes follow"),
        ("HTTP/1.1 101 -\r\n\r\n".into(), "protocol"),
    ] {
        let (kind, error) = failure(&text);
        assert_eq!(kind, ErrorKind::Response, "{text}: {error}");
        assert!(error.contains(message), "{text}: {error}");
    }
}

#[test]
fn chunks_are_sizes_and_bytes() {
    for (body, message) in [
        ("1;a=b\r\na\r\n0\r\n\r\n", "chunk"),
        ("1 \r\na\r\n0\r\n\r\n", "chunk"),
        ("0x1\r\na\r\n0\r\n\r\n", "chunk"),
        ("-1\r\na\r\n0\r\n\r\n", "chunk"),
        ("\r\na\r\n0\r\n\r\n", "chunk"),
        ("1\na\n0\n\n", "chunk"),
        ("1\r\nab\r\n0\r\n\r\n", "chunk"),
        ("000000001\r\na\r\n0\r\n\r\n", "chunk"),
        ("ffffffff\r\na", "larger than 20"),
        ("15\r\na", "larger than 20"),
        (
            "14\r\n01234567890123456789\r\n1\r\na\r\n0\r\n\r\n",
            "larger than 20",
        ),
        ("0\r\nno colon\r\n\r\n", "malformed"),
    ] {
        let text = format!("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n{body}");
        let (kind, error) = failure(&text);
        assert_eq!(kind, ErrorKind::Response, "{body}: {error}");
        assert!(error.contains(message), "{body}: {error}");
    }
}

#[test]
fn heads_are_bounded() {
    let endless = format!("HTTP/1.1 200 OK\r\n{}", "x: 0123456789\r\n".repeat(2000));
    let long = format!("HTTP/1.1 200 OK\r\nx: {}", "y".repeat(2 * MAX_HEAD_BYTES));
    let interim = "HTTP/1.1 100 Continue\r\n\r\n".repeat(1000);
    let status = "x".repeat(2 * MAX_HEAD_BYTES);
    let trailers = format!(
        "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n{}",
        "x: y\r\n".repeat(100)
    );
    for text in [endless, long, interim, status, trailers] {
        let (kind, error) = failure(&text);
        let bounded = error.contains("too long") || error.contains("too many");
        assert!(kind == ErrorKind::Response && bounded, "{error}");
    }
}

#[test]
fn other_protocols_are_errors() {
    for text in [
        "SSH-2.0-OpenSSH_9.2\r\n",
        "\r\n",
        "HTTP/1.0 200 OK\r\ncontent-length: 0\r\n\r\n",
        "HTTP/2 200\r\n\r\n",
        "HTTP/1.1 2000 OK\r\n\r\n",
        "HTTP/1.1 +20 OK\r\n\r\n",
        "HTTP/1.1 099 OK\r\n\r\n",
        "HTTP/1.1 600 OK\r\n\r\n",
        "HTTP/1.1 é20 OK\r\n\r\n",
        "HTTP/1.1  200 OK\r\n\r\n",
        "HTTP/1.1 20\r\n\r\n",
        "HTTP/1.1\r\n\r\n",
        "http/1.1 200 OK\r\n\r\n",
    ] {
        assert_eq!(failure(text).0, ErrorKind::Response, "{text}");
    }
}

#[test]
fn truncated_responses_are_lost_connections() {
    let whole = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n";
    for length in 0..whole.len() {
        assert_eq!(failure(&whole[..length]).0, ErrorKind::Network, "{length}");
        let error = read(&mut &whole.as_bytes()[..length], &request()).err();
        let error = error.map(|error| error.to_string()).unwrap_or_default();
        assert!(error.contains("closed the connection"), "{length}: {error}");
    }
}

#[test]
fn parts_are_the_requested_ones() {
    let request = Request {
        range: Some(5..=9),
        ..request()
    };
    let part = |status: u16, range: &str, body: &str| {
        let length = body.len();
        let text = format!("HTTP/1.1 {status} -\r\n{range}content-length: {length}\r\n\r\n{body}");
        parsed(&request, &text).map(|response| response.range)
    };
    let stated = |text: &str| format!("content-range: {text}\r\n");
    let whole = part(206, &stated("bytes 5-9/100"), "01234").unwrap();
    assert_eq!(whole, Some((5..=9, 100)));
    let less = part(206, &stated("bytes 5-7/8"), "012").unwrap();
    assert_eq!(less, Some((5..=7, 8)));
    assert_eq!(part(200, "", "0123456789").unwrap(), None);
    assert_eq!(part(416, &stated("bytes */4"), "").unwrap(), None);
    for (range, body) in [
        (String::new(), "01234"),
        (stated("bytes 5-9/100"), "0123"),
        (stated("bytes 5-9/100"), ""),
        (stated("bytes 4-8/100"), "01234"),
        (stated("bytes 5-10/100"), "012345"),
        (stated("bytes 5-9/9"), "01234"),
        (stated("bytes 5-4/100"), ""),
        (stated("bytes 5-18446744073709551616/*"), "01234"),
        (stated("bytes 5-9/*"), "01234"),
        (stated("5-9/100"), "01234"),
        (stated("bytes 5-9/100").repeat(2), "01234"),
    ] {
        assert!(part(206, &range, body).is_err(), "{range}");
    }
    let unasked = "HTTP/1.1 206 -\r\ncontent-range: bytes 0-0/1\r\ncontent-length: 1\r\n\r\na";
    assert_eq!(failure(unasked).0, ErrorKind::Response);
}

#[test]
fn requests_cannot_be_split() {
    let head = |change: fn(&mut Request<'static>)| {
        let mut request = request();
        change(&mut request);
        request.peer().and_then(|_| request.head())
    };
    let text = String::from_utf8(head(|_| ()).unwrap()).unwrap();
    assert!(text.starts_with("GET / HTTP/1.1\r\nhost: host.example\r\n"));
    assert!(text.ends_with("connection: close\r\n\r\n"), "{text}");
    let part = head(|r| r.range = Some(0..=0)).unwrap();
    assert!(part.ends_with(b"range: bytes=0-0\r\n\r\n"));
    let post = head(|r| r.method = Method::Post).unwrap();
    assert!(post.ends_with(b"content-length: 0\r\n\r\n"));
    assert!(head(|r| r.host = "host.example:8443").is_ok());
    let wrong: [fn(&mut Request<'static>); 16] = [
        |r| r.host = "",
        |r| r.host = "a b",
        |r| r.host = "user@host",
        |r| r.host = "host/x",
        |r| r.host = "host:0",
        |r| r.host = "host:+1",
        |r| r.host = "host:65536",
        |r| r.host = "host:1:2",
        |r| r.target = "",
        |r| r.target = "x",
        |r| r.target = "/a b",
        |r| r.target = "/\r\nx: y",
        |r| r.headers = &[("Host", "other")],
        |r| r.headers = &[("x", "a\r\ny: z")],
        |r| r.headers = &[("x:", "a")],
        |r| r.range = Some(RangeInclusive::new(1, 0)),
    ];
    for change in wrong {
        let error = head(change).unwrap_err();
        assert_eq!(error.kind, ErrorKind::Request, "{error}");
    }
}
