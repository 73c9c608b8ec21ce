//! Decompression of the zstd archives that edge-app sends. The engine itself loads zstd
//! only since version 23, and edge-docker supports version 20.10.

use std::io::{self, BufRead, Read};

use ruzstd::decoding::{FrameDecoder, StreamingDecoder};

/// Magic number with which each zstd frame begins.
pub(super) const MAGIC: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

/// Reader that decompresses consecutive zstd frames. edge-app compresses parts of an
/// archive on all cores, each part to its own frame.
pub(super) struct Frames<R: BufRead> {
    /// Compressed input, while no frame is being decoded.
    from: Option<R>,
    /// Decoder of the current frame, which owns the input until the frame ends.
    frame: Option<StreamingDecoder<R, FrameDecoder>>,
}

impl<R: BufRead> Frames<R> {
    /// Returns a reader of the decompressed content of all frames in `from`.
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
            // The decoder stops at the end of its frame and reads nothing after it.
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

    /// Output of `printf hello | zstd`, one frame.
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
