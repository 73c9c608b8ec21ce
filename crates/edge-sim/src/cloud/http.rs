//! HTTP/1.1 requests of the AWS APIs: one request per connection.

use std::io::{self, ErrorKind, Read, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use edge_common::time;

/// Largest size of request line and headers, in bytes.
const MAX_HEAD: usize = 16 * 1024;
/// Largest size of a body, in bytes.
const MAX_BODY: usize = 256 * 1024;

/// HTTP request as it was received.
#[derive(Clone, Debug, Default)]
pub(crate) struct Request {
    /// Method, for example `GET`.
    pub method: String,
    /// Path, still percent-encoded.
    pub path: String,
    /// Query without the question mark, still percent-encoded.
    pub query: String,
    /// Names in lower case with their values.
    pub headers: Vec<(String, String)>,
    /// Body of `content-length` bytes.
    pub body: Vec<u8>,
}

fn invalid(message: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidData, message)
}

impl Request {
    /// Reads a request; anything else, and one above the limits, is an error.
    pub(crate) fn read(from: &mut impl Read) -> io::Result<Self> {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            if head.len() >= MAX_HEAD {
                return Err(invalid("head too large"));
            }
            from.read_exact(&mut byte)?;
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).map_err(|_| invalid("head is not UTF-8"))?;
        let mut request = Self::parse(&head).ok_or_else(|| invalid("malformed head"))?;
        let length = match request.header("content-length") {
            None => 0,
            Some(length) => length.parse().map_err(|_| invalid("malformed length"))?,
        };
        if length > MAX_BODY || request.header("transfer-encoding").is_some() {
            return Err(invalid("body too large or without a length"));
        }
        request.body = vec![0; length];
        from.read_exact(&mut request.body)?;
        Ok(request)
    }

    fn parse(head: &str) -> Option<Self> {
        let mut lines = head.trim_end().split("\r\n");
        let mut first = lines.next()?.split(' ');
        let (method, target, version) = (first.next()?, first.next()?, first.next()?);
        if !version.starts_with("HTTP/1.") || first.next().is_some() || !target.starts_with('/') {
            return None;
        }
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let headers = lines.map(|line| {
            let (name, value) = line.split_once(':')?;
            Some((name.to_ascii_lowercase(), value.trim().to_string()))
        });
        Some(Self {
            method: method.into(),
            path: path.into(),
            query: query.into(),
            headers: headers.collect::<Option<_>>()?,
            body: Vec::new(),
        })
    }

    /// Returns the value of a header, by its name in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Returns the parameters of the query, decoded.
    pub(crate) fn parameters(&self) -> Option<Vec<(String, String)>> {
        let pairs = self.query.split('&').filter(|pair| !pair.is_empty());
        let decoded = pairs.map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            Some((decode(name)?, decode(value)?))
        });
        decoded.collect()
    }
}

/// Decodes percent-encoding; `None` if it is malformed or not UTF-8.
pub(crate) fn decode(text: &str) -> Option<String> {
    let mut bytes = text.bytes();
    let mut decoded = Vec::new();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            decoded.push(byte);
            continue;
        }
        let digits = [bytes.next()?, bytes.next()?];
        if !digits.iter().all(u8::is_ascii_hexdigit) {
            return None;
        }
        let digits = std::str::from_utf8(&digits).ok()?;
        decoded.push(u8::from_str_radix(digits, 16).ok()?);
    }
    String::from_utf8(decoded).ok()
}

/// Writes a response with JSON and closes the message; `error` is the header
/// `x-amzn-ErrorType`.
pub(crate) fn respond(
    to: &mut impl Write,
    status: u16,
    error: Option<&str>,
    body: &str,
) -> io::Result<()> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let head = head(
        now.map_or(0, |now| now.as_secs()),
        status,
        error,
        body.len(),
    );
    to.write_all(format!("{head}{body}").as_bytes())?;
    to.flush()
}

/// Returns status line and headers of a response with JSON of `length` bytes, at the time `now`.
pub(crate) fn head(now: u64, status: u16, error: Option<&str>, length: usize) -> String {
    let error = error.map_or(String::new(), |error| {
        format!("x-amzn-ErrorType: {error}\r\n")
    });
    format!(
        "HTTP/1.1 {status} -\r\ndate: {}\r\ncontent-type: application/json\r\n{error}\
         content-length: {length}\r\nconnection: close\r\n\r\n",
        date(now)
    )
}

/// Formats Unix time as a date of HTTP, for example `Thu, 26 Nov 2026 15:13:12 GMT`.
fn date(seconds: u64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let text = time::rfc3339(seconds);
    let month: usize = text[5..7].parse().unwrap_or(1);
    let weekday = DAYS[usize::try_from(seconds / 86_400 % 7).unwrap_or(0)];
    format!(
        "{weekday}, {} {} {} {} GMT",
        &text[8..10],
        MONTHS[month - 1],
        &text[..4],
        &text[11..19]
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_http() {
        assert_eq!(date(1_795_706_025), "Thu, 26 Nov 2026 15:13:45 GMT");
        assert_eq!(date(0), "Thu, 01 Jan 1970 00:00:00 GMT");
    }

    #[test]
    fn requests_are_parsed_and_garbage_is_an_error() {
        let text = "PUT /jobs/a%20b?force=true&x=%2F HTTP/1.1\r\nHost:  h \r\nContent-Length: 2\r\n\r\n{}rest";
        let request = Request::read(&mut text.as_bytes()).unwrap();
        assert_eq!(
            (request.method.as_str(), request.body.as_slice()),
            ("PUT", &b"{}"[..])
        );
        assert_eq!(decode(&request.path).unwrap(), "/jobs/a b");
        assert_eq!(request.header("host"), Some("h"));
        assert_eq!(request.parameters().unwrap()[1], ("x".into(), "/".into()));
        let long = format!("GET / HTTP/1.1\r\na: {}\r\n\r\n", "x".repeat(MAX_HEAD));
        let huge = format!("PUT / HTTP/1.1\r\ncontent-length: {}\r\n\r\n", MAX_BODY + 1);
        for garbage in [
            "",
            "GET / HTTP/1.1\r\n",
            "GET /\r\n\r\n",
            "GET x HTTP/1.1\r\n\r\n",
            "GET / SPDY\r\n\r\n",
            "GET / HTTP/1.1\r\nnothing\r\n\r\n",
            "PUT / HTTP/1.1\r\ncontent-length: -1\r\n\r\n",
            "PUT / HTTP/1.1\r\ncontent-length: 5\r\n\r\nabc",
            "PUT / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n",
            &long,
            &huge,
        ] {
            assert!(
                Request::read(&mut garbage.as_bytes()).is_err(),
                "{garbage:.40}"
            );
        }
        for wrong in ["%", "%2", "%zz", "%+1", "%ff"] {
            assert_eq!(decode(wrong), None, "{wrong}");
        }
    }
}
