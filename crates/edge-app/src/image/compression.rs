//! Compression on all cores: a stream is cut into pieces, each of which becomes a frame
//! of its own. Frames in a row are one stream again, for zstd (RFC 8878) and for
//! gzip (RFC 1952) alike, so a reader needs to know nothing of it.

use std::io::{self, Write};
use std::num::NonZero;
use std::sync::Mutex;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, anyhow};
use flate2::Compression;
use flate2::write::GzEncoder;

/// Size of a piece. Never change it for gzip: the same layer would have other frames
/// and another digest, and every registry and device would get it once more.
const PIECE_BYTES: usize = 1024 * 1024;
/// Lowest and highest level of zstd; the lowest is used first.
const ZSTD_LEVELS: (i32, i32) = (1, 12);

/// Format and purpose of the compression.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Codec {
    /// For a device: the level follows the link. It rises while the link is the
    /// bottleneck, and falls while the processors are.
    Zstd,
    /// For a registry: every engine reads it, and the same content has the same
    /// bytes at any time.
    Gzip,
}

/// Compresses everything that `produce` writes into `sink`; returns the result of
/// `produce`.
pub(crate) fn compress<T, W: Write + Send>(
    codec: Codec,
    sink: &mut W,
    produce: impl FnOnce(&mut dyn Write) -> Result<T>,
) -> Result<T> {
    let workers = thread::available_parallelism().map_or(1, NonZero::get);
    // Bounded: memory holds a few pieces, however large the image and slow the link.
    let (jobs, work) = sync_channel::<Job>(workers);
    // The receivers of the results in the order of the pieces: workers finish in any
    // order, the writer waits for the next one.
    let (order, results) = sync_channel(2 * workers);
    let (work, level) = (Mutex::new(work), AtomicI32::new(ZSTD_LEVELS.0));
    let (work, level) = (&work, &level);
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(move || compress_pieces(codec, work, level));
        }
        let writer = scope.spawn(move || write(results, sink, level));
        let mut pieces = Pieces {
            jobs,
            order,
            piece: Vec::with_capacity(PIECE_BYTES),
        };
        let produced = produce(&mut pieces);
        let finished = produced.and_then(|value| {
            pieces.send().context("compressing")?;
            Ok(value)
        });
        drop(pieces);
        let written = writer
            .join()
            .map_err(|_| anyhow!("compression worker panicked"))?;
        // A failed write closes the channels, and then producing fails as well: the
        // error of the writer is the cause.
        written.and(finished)
    })
}

type Compressed = io::Result<Vec<u8>>;

struct Job {
    piece: Vec<u8>,
    done: SyncSender<Compressed>,
}

struct Pieces {
    jobs: SyncSender<Job>,
    order: SyncSender<Receiver<Compressed>>,
    piece: Vec<u8>,
}

impl Pieces {
    fn send(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let (done, compressed) = sync_channel(1);
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE_BYTES));
        let closed = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        self.order.send(compressed).map_err(closed)?;
        let closed = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        self.jobs.send(Job { piece, done }).map_err(closed)
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = PIECE_BYTES - self.piece.len();
        let accepted = &bytes[..bytes.len().min(room)];
        self.piece.extend_from_slice(accepted);
        if self.piece.len() == PIECE_BYTES {
            self.send()?;
        }
        Ok(accepted.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn compress_pieces(codec: Codec, work: &Mutex<Receiver<Job>>, level: &AtomicI32) {
    loop {
        let job = work.lock().map(|work| work.recv());
        let Ok(Ok(Job { piece, done })) = job else {
            return;
        };
        let compressed = match codec {
            Codec::Zstd => zstd::bulk::compress(&piece, level.load(Ordering::Relaxed)),
            Codec::Gzip => gzip(&piece),
        };
        // After an error nobody receives it.
        let _ = done.send(compressed);
    }
}

/// Compresses a piece. The header has no name and no time, so that the same piece has
/// the same bytes.
fn gzip(piece: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(piece)?;
    encoder.finish()
}

fn write(
    results: Receiver<Receiver<Compressed>>,
    sink: &mut impl Write,
    level: &AtomicI32,
) -> Result<()> {
    let mut ready = Instant::now();
    for compressed in results {
        let compressed = compressed
            .recv()
            .context("compressing")?
            .context("compressing")?;
        let waited = ready.elapsed();
        let start = Instant::now();
        sink.write_all(&compressed)?;
        let wrote = start.elapsed();
        ready = Instant::now();
        let current = level.load(Ordering::Relaxed);
        // Twice as long, so that the level does not swing with each piece.
        let next = if wrote > 2 * waited {
            current + 1
        } else if waited > 2 * wrote {
            current - 1
        } else {
            current
        };
        level.store(next.clamp(ZSTD_LEVELS.0, ZSTD_LEVELS.1), Ordering::Relaxed);
    }
    Ok(sink.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn content() -> Vec<u8> {
        let number = |i: usize| ((i * i) >> 7) as u8;
        (0..PIECE_BYTES * 5 / 2).map(number).collect()
    }

    fn compressed(codec: Codec) -> Vec<u8> {
        let mut sink = Vec::new();
        compress(codec, &mut sink, |to| Ok(to.write_all(&content())?)).unwrap();
        sink
    }

    #[test]
    fn frames_are_one_stream() {
        let zstd = compressed(Codec::Zstd);
        assert_eq!(zstd::decode_all(&zstd[..]).unwrap(), content());
        let gzip = compressed(Codec::Gzip);
        let mut plain = Vec::new();
        let mut decoder = flate2::read::MultiGzDecoder::new(&gzip[..]);
        decoder.read_to_end(&mut plain).unwrap();
        assert_eq!(plain, content());
        assert_eq!(gzip, compressed(Codec::Gzip));
    }

    #[test]
    fn both_ends_can_fail() {
        struct Full;
        impl Write for Full {
            fn write(&mut self, _: &[u8]) -> io::Result<usize> {
                Err(io::Error::other("full"))
            }
            fn flush(&mut self) -> io::Result<()> {
                Ok(())
            }
        }
        let endless = |to: &mut dyn Write| -> Result<()> {
            loop {
                to.write_all(&[7; 4096])?;
            }
        };
        let error = compress(Codec::Zstd, &mut Full, endless).unwrap_err();
        assert_eq!(error.to_string(), "full");
        let fails = |_: &mut dyn Write| -> Result<()> { Err(anyhow!("source")) };
        let error = compress(Codec::Gzip, &mut Vec::new(), fails).unwrap_err();
        assert_eq!(error.to_string(), "source");
    }
}
