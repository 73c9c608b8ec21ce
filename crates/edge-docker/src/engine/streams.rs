//! Copying of data between the stream of an attached container and the standard streams
//! of this process.

use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;

/// Size of the buffers for input and output of the container, in bytes.
const BUFFER_BYTES: usize = 32 * 1024;
/// Keys Ctrl-P, Ctrl-Q, which detach from a container and leave it running.
const DETACH_KEYS: [u8; 2] = [0x10, 0x11];

/// Returns a duplicate of a standard stream without std's buffer, because output must
/// appear at once.
fn unbuffered(stream: BorrowedFd) -> io::Result<File> {
    stream.try_clone_to_owned().map(File::from)
}

/// Forwards the output of the container, beginning with the bytes in `arrived`. Without a
/// terminal the engine sends frames: a byte for the stream, three zero bytes, and the
/// length of the data in four bytes, big endian.
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
    // With a terminal there is only one output stream, and the engine sends no frames.
    if tty {
        return forward(&mut from, u64::MAX, &mut stdout);
    }
    loop {
        let mut head = [0; 8];
        match from.read_exact(&mut head) {
            Ok(()) => {}
            // The engine closed the stream. Whether the container has ended is reported
            // by the wait request.
            Err(error) if is_end(&error) => return Ok(()),
            Err(error) => return Err(error),
        }
        let [kind, 0, 0, 0, a, b, c, d] = head else {
            return Err(io::Error::other("the engine's frames are malformed"));
        };
        let length = u64::from(u32::from_be_bytes([a, b, c, d]));
        match kind {
            // As in docker's client: 0 is input that the engine echoes, 3 an error of the
            // engine.
            0 | 1 => forward(&mut from, length, &mut stdout)?,
            2 | 3 => forward(&mut from, length, &mut stderr)?,
            _ => return Err(io::Error::other("the engine's frames are malformed")),
        }
    }
}

fn is_end(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        // The kernel resets a Unix socket that is closed with unread input, for example
        // when a container ends early.
        ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset
    )
}

/// Forwards up to `length` bytes as they arrive. An early end of the stream is not an
/// error.
fn forward(from: &mut impl BufRead, mut length: u64, to: &mut impl Write) -> io::Result<()> {
    while length > 0 {
        let chunk = match from.fill_buf() {
            Ok([]) => return Ok(()),
            Ok(chunk) => chunk,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) if is_end(&error) => return Ok(()),
            Err(error) => return Err(error),
        };
        // A frame is never read into memory as a whole: it may announce up to 4 GiB.
        let wanted = usize::try_from(length).unwrap_or(usize::MAX);
        let count = chunk.len().min(wanted);
        to.write_all(&chunk[..count])?;
        from.consume(count);
        length -= count as u64;
    }
    Ok(())
}

/// Reason why no more input is forwarded to the container.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum InputEnd {
    /// Standard input reached its end.
    Closed,
    /// The detach keys were typed: see [`DETACH_KEYS`].
    Detached,
}

/// Forwards standard input to the container, until its end or the detach keys.
pub(super) fn forward_input(stream: &UnixStream, tty: bool) -> io::Result<InputEnd> {
    let mut stdin = unbuffered(io::stdin().as_fd())?;
    let end = forward_keys(&mut stdin, stream, tty)?;
    if end == InputEnd::Closed {
        // Closes one direction: the container reads the end of its input, and its output
        // is still forwarded.
        stream.shutdown(Shutdown::Write)?;
    }
    Ok(end)
}

/// Forwards input until it ends or, with a terminal, until the detach keys are typed.
fn forward_keys(from: &mut impl Read, mut to: impl Write, tty: bool) -> io::Result<InputEnd> {
    let mut buffer = [0; BUFFER_BYTES];
    // Ctrl-P is held back until the next key shows whether both are the detach keys, as
    // in docker's client.
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
        // Reads one byte at a time, because a slow engine may send single bytes.
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
        // A frame of 4 GiB: its first byte is forwarded without waiting for the rest.
        let (_, out, _) = copied(b"\x01\0\0\0\xff\xff\xff\xffx", false);
        assert_eq!(out, b"x");
    }

    #[test]
    fn keys_detach_at_a_terminal_only() {
        let typed = |keys: &[u8], tty| {
            let mut sent = Vec::new();
            // One key per read, because keys are typed one by one.
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
