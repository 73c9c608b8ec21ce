//! Lines and bytes of a response, within limits.

use std::io::Read;

use super::Error;
use super::request::is_token;

/// Limit of all head and trailer lines of a response, in bytes.
pub(super) const MAX_HEAD_BYTES: usize = 16 * 1024;
/// Limit of the number of headers, trailers included.
const MAX_HEADERS: usize = 64;
/// Size of one read: a whole TLS record, so that bytes after the end of a response are
/// seen.
const READ_BYTES: usize = 16 * 1024;

/// Names in lower case, and values.
pub(super) type Headers = Vec<(String, String)>;

/// Reader of a response.
pub(super) struct Message<'a> {
    source: &'a mut dyn Read,
    chunk: Vec<u8>,
    buffer: Vec<u8>,
    /// Number of bytes of `buffer` that were read from it.
    used: usize,
    /// Number of bytes that lines may still have.
    lines_left: usize,
    headers_left: usize,
}

impl<'a> Message<'a> {
    pub(super) fn new(source: &'a mut dyn Read) -> Self {
        Self {
            source,
            chunk: vec![0; READ_BYTES],
            buffer: Vec::new(),
            used: 0,
            lines_left: MAX_HEAD_BYTES,
            headers_left: MAX_HEADERS,
        }
    }

    /// Reads more bytes into the buffer.
    fn fill(&mut self) -> Result<(), Error> {
        self.buffer.drain(..self.used);
        self.used = 0;
        match self.source.read(&mut self.chunk) {
            Ok(0) => Err(Error::closed()),
            Ok(count) => {
                self.buffer.extend_from_slice(&self.chunk[..count]);
                Ok(())
            }
            Err(error) => Err(Error::of_io(error)),
        }
    }

    /// Returns the next line of the head without its end.
    pub(super) fn line(&mut self) -> Result<String, Error> {
        let line = self.short_line(self.lines_left)?;
        self.lines_left -= line.len() + 2;
        Ok(line)
    }

    /// Returns the next line of less than `limit` bytes, its end included.
    pub(super) fn short_line(&mut self, limit: usize) -> Result<String, Error> {
        let mut searched = 0;
        let length = loop {
            let unread = &self.buffer[self.used..];
            let found = unread[searched..].iter().position(|byte| *byte == b'\n');
            match found.map(|at| searched + at) {
                Some(at) if at < limit => break at,
                None if unread.len() < limit => searched = unread.len(),
                _ => return Err(Error::response("the response's head is too long")),
            }
            self.fill()?;
        };
        let line = &self.buffer[self.used..self.used + length];
        self.used += length + 1;
        // A line that ends in LF alone, or contains CR, ends elsewhere for other readers.
        let line = line.strip_suffix(b"\r");
        let line = line.filter(|line| line.iter().all(|b| *b == b'\t' || !b.is_ascii_control()));
        let line = line.and_then(|line| std::str::from_utf8(line).ok());
        line.map(String::from)
            .ok_or_else(|| Error::response("a line of the response's head is malformed"))
    }

    /// Reads headers up to the empty line.
    pub(super) fn headers(&mut self) -> Result<Headers, Error> {
        let mut headers = Headers::new();
        loop {
            let line = self.line()?;
            if line.is_empty() {
                return Ok(headers);
            }
            self.headers_left = (self.headers_left.checked_sub(1))
                .ok_or_else(|| Error::response("the response has too many headers"))?;
            // A name with a blank before the colon, or a line that continues the one before,
            // has other meanings for other readers.
            match line.split_once(':').filter(|(name, _)| is_token(name)) {
                Some((name, value)) => {
                    let value = value.trim_matches([' ', '\t']);
                    headers.push((name.to_ascii_lowercase(), value.into()));
                }
                None => return Err(Error::response("a header of the response is malformed")),
            }
        }
    }

    /// Appends `count` bytes to `body`, which grows with what was received.
    pub(super) fn bytes(&mut self, mut count: usize, body: &mut Vec<u8>) -> Result<(), Error> {
        while count > 0 {
            if self.used == self.buffer.len() {
                self.fill()?;
            }
            let unread = &self.buffer[self.used..];
            let part = &unread[..count.min(unread.len())];
            body.extend_from_slice(part);
            self.used += part.len();
            count -= part.len();
        }
        Ok(())
    }

    /// Returns whether bytes after the response were received with it.
    pub(super) fn has_more(&self) -> bool {
        self.used < self.buffer.len()
    }
}
