//! Responses.

use std::io::Read;
use std::ops::RangeInclusive;

use super::message::{Headers, Message};
use super::{Error, Request};

/// Limit of the body of an error or redirect, in bytes, where that of the request is lower.
const MAX_ERROR_BYTES: usize = 16 * 1024;
/// Limit of a line with the size of a chunk: 8 digits and the line's end.
const MAX_SIZE_BYTES: usize = 10;

/// Complete response.
pub struct Response {
    /// Status, for example 200.
    pub status: u16,
    /// Body.
    pub body: Vec<u8>,
    /// Bytes of the object that the body contains, and the size of the object; `None`
    /// unless a range was requested and the status is 206.
    pub range: Option<(RangeInclusive<u64>, u64)>,
    headers: Headers,
}

impl Response {
    /// Returns the value of a header, whose name is in lower case; `None` if it is absent
    /// or stated more than once.
    pub fn header(&self, name: &str) -> Option<&str> {
        only(&self.headers, name).ok().flatten()
    }
}

/// Returns the value of a header; fails if it is stated more than once.
fn only<'a>(headers: &'a Headers, name: &str) -> Result<Option<&'a str>, Error> {
    let mut values = headers.iter().filter(|(own, _)| own == name);
    let first = values.next().map(|(_, value)| value.as_str());
    match values.next() {
        None => Ok(first),
        Some(_) => Err(Error::response(format!("the response states {name} twice"))),
    }
}

/// Reads the response to `request`.
pub(super) fn read(source: &mut dyn Read, request: &Request) -> Result<Response, Error> {
    let mut message = Message::new(source);
    let (status, headers) = loop {
        let status = status(&message.line()?)?;
        let headers = message.headers()?;
        match status {
            // The connection would belong to another protocol.
            101 => return Err(Error::response("the server changes the protocol")),
            100..200 => {}
            _ => break (status, headers),
        }
    };
    let limit = match status {
        200..300 => request.limit,
        _ => request.limit.max(MAX_ERROR_BYTES),
    };
    let coding = only(&headers, "content-encoding")?;
    if coding.is_some_and(|coding| !coding.eq_ignore_ascii_case("identity")) {
        return Err(Error::response("the response's body is encoded"));
    }
    let body = body(&mut message, status, &headers, limit)?;
    if message.has_more() {
        return Err(Error::response("bytes follow the end of the response"));
    }
    let range = range(request, status, &headers, body.len())?;
    Ok(Response {
        status,
        body,
        range,
        headers,
    })
}

/// Parses `HTTP/1.1 STATUS REASON`.
fn status(line: &str) -> Result<u16, Error> {
    let rest = line.strip_prefix("HTTP/1.1 ");
    let (code, reason) = rest.map_or(("", ""), |rest| rest.split_at(rest.len().min(3)));
    let is_line =
        code.bytes().all(|b| b.is_ascii_digit()) && (reason.is_empty() || reason.starts_with(' '));
    let code = code.parse().ok().filter(|code| (100..600).contains(code));
    code.filter(|_| is_line)
        .ok_or_else(|| Error::response("the server does not answer with HTTP/1.1"))
}

fn body(
    message: &mut Message,
    status: u16,
    headers: &Headers,
    limit: usize,
) -> Result<Vec<u8>, Error> {
    let length = only(headers, "content-length")?;
    let coding = only(headers, "transfer-encoding")?;
    let mut body = Vec::new();
    match (length, coding) {
        _ if status == 204 || status == 304 => {}
        (Some(_), Some(_)) => {
            return Err(Error::response("the response states two lengths"));
        }
        (Some(length), None) => {
            let length = number(length, 10).filter(|_| length.len() <= 19);
            let length = length.ok_or_else(|| Error::response("the length is not a number"))?;
            let length = usize::try_from(length).unwrap_or(usize::MAX);
            if length > limit {
                return Err(too_large(limit));
            }
            message.bytes(length, &mut body)?;
        }
        (None, Some(coding)) if coding.eq_ignore_ascii_case("chunked") => {
            chunks(message, limit, &mut body)?;
        }
        (None, Some(_)) => return Err(Error::response("the response has another encoding")),
        // A body that ends with the connection may be half of one.
        (None, None) => return Err(Error::response("the response does not state its length")),
    }
    Ok(body)
}

fn chunks(message: &mut Message, limit: usize, body: &mut Vec<u8>) -> Result<(), Error> {
    let malformed = || Error::response("a chunk of the response is malformed");
    loop {
        // An extension would be the only other content of this line; nobody needs one.
        let line = message.short_line(MAX_SIZE_BYTES).map_err(|error| {
            let is_line = error.kind == super::ErrorKind::Response;
            if is_line { malformed() } else { error }
        })?;
        let size = number(&line, 16).ok_or_else(malformed)?;
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        if size == 0 {
            // Trailers count as headers, and nothing uses them.
            return message.headers().map(drop);
        }
        if size > limit - body.len() {
            return Err(too_large(limit));
        }
        message.bytes(size, body)?;
        let mut end = Vec::new();
        message.bytes(2, &mut end)?;
        if end != b"\r\n" {
            return Err(malformed());
        }
    }
}

fn too_large(limit: usize) -> Error {
    Error::response(format!("the response is larger than {limit} bytes"))
}

/// Parses digits alone: `from_str_radix` would also take a sign.
fn number(digits: &str, radix: u32) -> Option<u64> {
    let are_digits = digits.chars().all(|digit| digit.is_digit(radix));
    let number = are_digits.then(|| u64::from_str_radix(digits, radix).ok());
    number.flatten()
}

/// Checks that a part is the requested one, and returns its range and the object's size.
fn range(
    request: &Request,
    status: u16,
    headers: &Headers,
    length: usize,
) -> Result<Option<(RangeInclusive<u64>, u64)>, Error> {
    if status != 206 {
        return Ok(None);
    }
    let stated = only(headers, "content-range")?.and_then(|text| {
        let (range, size) = text.strip_prefix("bytes ")?.split_once('/')?;
        let (first, last) = range.split_once('-')?;
        Some((number(first, 10)?, number(last, 10)?, number(size, 10)?))
    });
    let wanted = request.range.as_ref().zip(stated);
    let part = wanted.filter(|(range, (first, last, size))| {
        first == range.start()
            && first <= last
            && last <= range.end()
            && last < size
            && last - first == (length as u64).wrapping_sub(1)
    });
    match part {
        Some((_, (first, last, size))) => Ok(Some((first..=last, size))),
        None => Err(Error::response(
            "the response is another part than requested",
        )),
    }
}
