//! Compressing on all cores: a stream is cut into pieces, each becomes a frame
//! of its own, and frames that follow one another are one stream again, for zstd
//! as for gzip.

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

/// Bytes of a piece. The same content must give the same frames, so that a layer
/// keeps its digest: never change it for gzip.
const PIECE: usize = 1024 * 1024;
/// Least and most that zstd is told to try; it starts with the least.
const LEVELS: (i32, i32) = (1, 12);

/// How pieces are compressed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Codec {
    /// For a device. The level follows the link: it rises while the link is
    /// what is waited for, and falls while the processors are.
    Zstd,
    /// For a registry: every engine takes it, and the same content gives the
    /// same bytes.
    Gzip,
}

/// Compresses what `produce` writes, into `sink`.
///
/// # Errors
/// That of `sink` or of `produce`.
pub(crate) fn pack<T, W: Write + Send>(
    codec: Codec,
    sink: &mut W,
    produce: impl FnOnce(&mut dyn Write) -> Result<T>,
) -> Result<T> {
    let workers = thread::available_parallelism().map_or(1, NonZero::get);
    let (jobs, work) = sync_channel::<Job>(workers);
    let (order, results) = sync_channel(2 * workers);
    let (work, level) = (Mutex::new(work), AtomicI32::new(LEVELS.0));
    let (work, level) = (&work, &level);
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(move || compress(codec, work, level));
        }
        let writer = scope.spawn(move || write(results, sink, level));
        let mut pieces = Pieces {
            jobs,
            order,
            piece: Vec::with_capacity(PIECE),
        };
        let produced = produce(&mut pieces);
        let finished = produced.and_then(|value| {
            pieces.send().context("compressing")?;
            Ok(value)
        });
        drop(pieces);
        let written = writer.join().map_err(|_| anyhow!("a thread ended"))?;
        // When writing fails producing does too: the first is the cause.
        written.and(finished)
    })
}

type Packed = io::Result<Vec<u8>>;

struct Job {
    piece: Vec<u8>,
    done: SyncSender<Packed>,
}

struct Pieces {
    jobs: SyncSender<Job>,
    order: SyncSender<Receiver<Packed>>,
    piece: Vec<u8>,
}

impl Pieces {
    fn send(&mut self) -> io::Result<()> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let (done, packed) = sync_channel(1);
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE));
        let closed = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        self.order.send(packed).map_err(closed)?;
        let closed = |_| io::Error::from(io::ErrorKind::BrokenPipe);
        self.jobs.send(Job { piece, done }).map_err(closed)
    }
}

impl Write for Pieces {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = PIECE - self.piece.len();
        let taken = &bytes[..bytes.len().min(room)];
        self.piece.extend_from_slice(taken);
        if self.piece.len() == PIECE {
            self.send()?;
        }
        Ok(taken.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn compress(codec: Codec, work: &Mutex<Receiver<Job>>, level: &AtomicI32) {
    loop {
        let job = work.lock().map(|work| work.recv());
        let Ok(Ok(Job { piece, done })) = job else {
            return;
        };
        let packed = match codec {
            Codec::Zstd => zstd::bulk::compress(&piece, level.load(Ordering::Relaxed)),
            Codec::Gzip => gzip(&piece),
        };
        // Nobody waits for it after an error.
        let _ = done.send(packed);
    }
}

/// No name and no time in the header: the same piece, the same bytes.
fn gzip(piece: &[u8]) -> io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(piece)?;
    encoder.finish()
}

fn write(
    results: Receiver<Receiver<Packed>>,
    sink: &mut impl Write,
    level: &AtomicI32,
) -> Result<()> {
    let mut ready = Instant::now();
    for packed in results {
        let packed = packed
            .recv()
            .context("compressing")?
            .context("compressing")?;
        let waited = ready.elapsed();
        let start = Instant::now();
        sink.write_all(&packed)?;
        let wrote = start.elapsed();
        ready = Instant::now();
        let now = level.load(Ordering::Relaxed);
        let next = if wrote > 2 * waited {
            now + 1
        } else if waited > 2 * wrote {
            now - 1
        } else {
            now
        };
        level.store(next.clamp(LEVELS.0, LEVELS.1), Ordering::Relaxed);
    }
    Ok(sink.flush()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    fn content() -> Vec<u8> {
        let number = |i: usize| ((i * i) >> 7) as u8;
        (0..PIECE * 5 / 2).map(number).collect()
    }

    fn packed(codec: Codec) -> Vec<u8> {
        let mut sink = Vec::new();
        pack(codec, &mut sink, |to| Ok(to.write_all(&content())?)).unwrap();
        sink
    }

    #[test]
    fn frames_are_one_stream() {
        let zstd = packed(Codec::Zstd);
        assert_eq!(zstd::decode_all(&zstd[..]).unwrap(), content());
        let gzip = packed(Codec::Gzip);
        let mut plain = Vec::new();
        let mut decoder = flate2::read::MultiGzDecoder::new(&gzip[..]);
        decoder.read_to_end(&mut plain).unwrap();
        assert_eq!(plain, content());
        assert_eq!(gzip, packed(Codec::Gzip));
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
        let error = pack(Codec::Zstd, &mut Full, endless).unwrap_err();
        assert_eq!(error.to_string(), "full");
        let fails = |_: &mut dyn Write| -> Result<()> { Err(anyhow!("source")) };
        let error = pack(Codec::Gzip, &mut Vec::new(), fails).unwrap_err();
        assert_eq!(error.to_string(), "source");
    }
}
