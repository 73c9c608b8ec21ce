//! Decompression of zstd, as edge-app sends images: the engine knows it only since
//! version 23. Frames follow one another.

use std::io::{self, BufRead, Read};

use ruzstd::decoding::{FrameDecoder, StreamingDecoder};

/// First bytes of a frame.
pub(super) const MAGIC: &[u8] = &[0x28, 0xb5, 0x2f, 0xfd];

/// Content of consecutive frames.
pub(super) struct Frames<R: BufRead> {
    from: Option<R>,
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
            let ended = self.frame.take().map(StreamingDecoder::into_inner);
            let Some(mut from) = ended.or_else(|| self.from.take()) else {
                return Ok(0);
            };
            if from.fill_buf()?.is_empty() {
                return Ok(0);
            }
            self.frame = Some(StreamingDecoder::new(from).map_err(broken)?);
        }
    }
}

fn broken(error: impl std::fmt::Display) -> io::Error {
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
    fn frames_follow_one_another() {
        let twice = [FRAME, FRAME].concat();
        assert_eq!(copied(&twice).unwrap(), b"hellohello");
    }

    #[test]
    fn what_ends_early_is_an_error() {
        for length in 4..FRAME.len() - 4 {
            assert!(copied(&FRAME[..length]).is_err(), "{length}");
        }
        assert!(copied(&[&FRAME[..], b"rest"].concat()).is_err());
    }
}
