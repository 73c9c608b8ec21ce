//! Copying between the stream of an attached container and our own streams.

use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

/// Size of the buffer for copies, in bytes.
const BUFFER_BYTES: usize = 32 * 1024;
/// Ctrl-P, Ctrl-Q: detach, and leave the container running.
const DETACH_KEYS: [u8; 2] = [0x10, 0x11];

/// Returns the file behind one of our streams: std would buffer what has to appear at
/// once.
fn unbuffered(stream: BorrowedFd) -> io::Result<File> {
    stream.try_clone_to_owned().map(File::from)
}

/// Forwards the output of the container, `arrived` first. Without a terminal it comes in
/// frames: the number of the stream, three zeros, and the length in four bytes, big
/// endian.
pub(super) fn forward_output(arrived: &[u8], stream: &UnixStream, tty: bool) -> io::Result<()> {
    let from = BufReader::with_capacity(BUFFER_BYTES, arrived.chain(stream));
    let stdout = unbuffered(io::stdout().as_fd())?;
    let stderr = unbuffered(io::stderr().as_fd())?;
    copy(from, tty, stdout, stderr)
}

fn copy(
    mut from: impl BufRead,
    tty: bool,
    mut stdout: impl Write,
    mut stderr: impl Write,
) -> io::Result<()> {
    // A terminal is one stream: there are no frames to take apart.
    if tty {
        return forward(&mut from, u64::MAX, &mut stdout);
    }
    loop {
        let mut head = [0; 8];
        match from.read_exact(&mut head) {
            Ok(()) => {}
            // The engine hung up; the exit code shows whether that was the end.
            Err(error) if is_end(&error) => return Ok(()),
            Err(error) => return Err(error),
        }
        let [kind, 0, 0, 0, a, b, c, d] = head else {
            return Err(io::Error::other("the engine's frames are malformed"));
        };
        let length = u64::from(u32::from_be_bytes([a, b, c, d]));
        match kind {
            // As docker's client: 0 is echoed input, 3 an error of the engine.
            0 | 1 => forward(&mut from, length, &mut stdout)?,
            2 | 3 => forward(&mut from, length, &mut stderr)?,
            _ => return Err(io::Error::other("the engine's frames are malformed")),
        }
    }
}

fn is_end(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        // The kernel resets a Unix socket that is closed with unread input, such as that
        // of a container that ended early.
        ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset
    )
}

/// Forwards `length` bytes as they come, or fewer if the stream ends.
fn forward(from: &mut impl BufRead, mut length: u64, to: &mut impl Write) -> io::Result<()> {
    while length > 0 {
        let chunk = match from.fill_buf() {
            Ok([]) => return Ok(()),
            Ok(chunk) => chunk,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) if is_end(&error) => return Ok(()),
            Err(error) => return Err(error),
        };
        // Never a whole frame in memory: it may announce 4 GiB.
        let wanted = usize::try_from(length).unwrap_or(usize::MAX);
        let count = chunk.len().min(wanted);
        to.write_all(&chunk[..count])?;
        from.consume(count);
        length -= count as u64;
    }
    Ok(())
}

/// End of our input.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum InputEnd {
    /// The input was closed.
    Closed,
    /// The keys to detach were typed.
    Detached,
}

/// Forwards our input, and its end.
pub(super) fn forward_input(stream: &UnixStream, tty: bool) -> io::Result<InputEnd> {
    let mut stdin = unbuffered(io::stdin().as_fd())?;
    let end = forward_keys(&mut stdin, stream, tty)?;
    if end == InputEnd::Closed {
        // One direction: the container sees the end of its input, and its output goes on.
        stream.shutdown(Shutdown::Write)?;
    }
    Ok(end)
}

/// Forwards input; at a terminal, up to the keys to detach.
fn forward_keys(from: &mut impl Read, mut to: impl Write, tty: bool) -> io::Result<InputEnd> {
    let mut buffer = [0; BUFFER_BYTES];
    // Ctrl-P is held back until the next key shows whether it belonged to the pair, as
    // docker's client does.
    let mut held = false;
    loop {
        let count = match from.read(&mut buffer) {
            Ok(0) => return Ok(InputEnd::Closed),
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        if !tty {
            to.write_all(&buffer[..count])?;
            continue;
        }
        let mut typed = Vec::with_capacity(count + 1);
        for byte in &buffer[..count] {
            if held && *byte == DETACH_KEYS[1] {
                to.write_all(&typed)?;
                return Ok(InputEnd::Detached);
            }
            if held {
                typed.push(DETACH_KEYS[0]);
            }
            held = *byte == DETACH_KEYS[0];
            if !held {
                typed.push(*byte);
            }
        }
        to.write_all(&typed)?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn copied(bytes: &[u8], tty: bool) -> (io::Result<()>, Vec<u8>, Vec<u8>) {
        let (mut out, mut err) = (Vec::new(), Vec::new());
        // One byte at a time, as a slow engine may send them.
        let from = BufReader::with_capacity(1, bytes);
        let result = copy(from, tty, &mut out, &mut err);
        (result, out, err)
    }

    #[test]
    fn frames_come_apart() {
        let frames = b"\x01\0\0\0\0\0\0\x03one\x02\0\0\0\0\0\0\x03two\x01\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\x01\n";
        let (result, out, err) = copied(frames, false);
        result.unwrap();
        assert_eq!((&out[..], &err[..]), (&b"one\n"[..], &b"two"[..]));
        let (_, out, _) = copied(frames, true);
        assert_eq!(out, frames);
    }

    #[test]
    fn interrupted_output_is_forwarded_and_malformed_output_is_an_error() {
        for cut in [
            &b"\x01\0\0\0\0\0\0\x09one"[..],
            b"\x01\0\0\0\0\0\0\x03one\x01\0",
        ] {
            let (result, out, _) = copied(cut, false);
            result.unwrap();
            assert_eq!(out, b"one");
        }
        for bad in [&b"\x04\0\0\0\0\0\0\x01x"[..], b"HTTP/1.1 400 Bad"] {
            assert!(copied(bad, false).0.is_err());
        }
        // A frame of 4 GiB is not waited for in memory.
        let (_, out, _) = copied(b"\x01\0\0\0\xff\xff\xff\xffx", false);
        assert_eq!(out, b"x");
    }

    #[test]
    fn keys_detach_at_a_terminal_only() {
        let typed = |keys: &[u8], tty| {
            let mut sent = Vec::new();
            // Also when they come one by one.
            let end = forward_keys(&mut BufReader::with_capacity(1, keys), &mut sent, tty);
            (end.unwrap(), sent)
        };
        assert_eq!(
            typed(b"a\x10\x11b", true),
            (InputEnd::Detached, b"a".into())
        );
        assert_eq!(
            typed(b"\x10\x10a\x11\x10b", true),
            (InputEnd::Closed, b"\x10\x10a\x11\x10b".into())
        );
        assert_eq!(
            typed(b"a\x10\x11b", false),
            (InputEnd::Closed, b"a\x10\x11b".into())
        );
    }
}
