//! Decompression of zstd, the form in which edge-app sends images: the engine loads it
//! only since version 23, and edge-docker supports 20.10.

use std::io::{self, BufRead, Read};

use ruzstd::decoding::{FrameDecoder, StreamingDecoder};

/// First bytes of a frame.
pub(super) const MAGIC: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

/// Content of consecutive frames: edge-app compresses pieces of the archive on all cores,
/// each to a frame of its own.
pub(super) struct Frames<R: BufRead> {
    /// Input between two frames.
    from: Option<R>,
    /// Frame that is being decoded; it owns the input.
    frame: Option<StreamingDecoder<R, FrameDecoder>>,
}

impl<R: BufRead> Frames<R> {
    /// Returns a reader that begins with the first frame of `from`.
    pub(super) fn new(from: R) -> Self {
        Self {
            from: Some(from),
            frame: None,
        }
    }
}

impl<R: BufRead> Read for Frames<R> {
    fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
        loop {
            if let Some(frame) = &mut self.frame {
                let length = frame.read(to)?;
                if length > 0 || to.is_empty() {
                    return Ok(length);
                }
            }
            // The decoder stops at the end of its frame and reads nothing behind it.
            let ended = self.frame.take().map(StreamingDecoder::into_inner);
            let Some(mut from) = ended.or_else(|| self.from.take()) else {
                return Ok(0);
            };
            if from.fill_buf()?.is_empty() {
                return Ok(0);
            }
            self.frame = Some(StreamingDecoder::new(from).map_err(malformed)?);
        }
    }
}

fn malformed(error: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `printf hello | zstd`, twice.
    const FRAME: [u8; 18] = [
        0x28, 0xb5, 0x2f, 0xfd, 0x04, 0x58, 0x29, 0x00, 0x00, 0x68, 0x65, 0x6c, 0x6c, 0x6f, 0xa3,
        0x6d, 0x9f, 0x88,
    ];

    fn copied(input: &[u8]) -> io::Result<Vec<u8>> {
        let mut output = Vec::new();
        Frames::new(input).read_to_end(&mut output).map(|_| output)
    }

    #[test]
    fn frames_are_concatenated() {
        let twice = [FRAME, FRAME].concat();
        assert_eq!(copied(&twice).unwrap(), b"hellohello");
    }

    #[test]
    fn truncated_frames_are_errors() {
        for length in 4..FRAME.len() - 4 {
            assert!(copied(&FRAME[..length]).is_err(), "{length}");
        }
        assert!(copied(&[&FRAME[..], b"rest"].concat()).is_err());
    }
}
