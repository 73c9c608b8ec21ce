//! Compression on all cores: the stream is divided into pieces, and each piece is
//! compressed to a frame of its own. Concatenated frames are one valid stream both for
//! zstd (RFC 8878) and for gzip (RFC 1952), so decompressors need no special support.

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

/// Size of a piece in bytes before compression. Must stay the same for gzip: another size
/// changes the compressed bytes and so the digest of every layer, and registries and
/// devices would have to store each layer again.
const PIECE_BYTES: usize = 1024 * 1024;
/// Lowest and highest zstd compression level in use. Compression starts with the lowest.
const ZSTD_LEVELS: (i32, i32) = (1, 12);

/// Compression format, which depends on the receiver: a device or a registry.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Codec {
    /// zstd, for transfers to a device. The level rises while the network is the
    /// bottleneck, and falls while the processor is.
    Zstd,
    /// gzip, for uploads to a registry: every engine can read it, and the same content
    /// always has the same compressed bytes.
    Gzip,
}

/// Runs `produce`, compresses everything that it writes, and writes the result to `sink`.
/// Returns the result of `produce`.
pub(crate) fn compress<T, W: Write + Send>(
    codec: Codec,
    sink: &mut W,
    produce: impl FnOnce(&mut dyn Write) -> Result<T>,
) -> Result<T> {
    let workers = thread::available_parallelism().map_or(1, NonZero::get);
    // The bounded channel limits memory to a few pieces, however large the image is and
    // however slow the network.
    let (jobs, work) = sync_channel::<Job>(workers);
    // One receiver for each piece, in the order of the pieces: workers finish in any
    // order, and the writer waits for the next piece.
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
        // A failed write closes the channels, so that `produce` then fails too. The
        // writer's error is the cause and takes precedence.
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
        // The writer is gone after an error, so a failed send is ignored.
        let _ = done.send(compressed);
    }
}

/// Compresses one piece as a gzip member without file name and time, so that equal pieces
/// are equal after compression.
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
        // The level changes only if one side takes twice as long as the other; otherwise
        // it would oscillate with each piece.
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
