//! Reader of the archive of a bundle: regular files with the names of an OCI layout.
//!
//! Nothing is unpacked, and links, long names, sparse files and extended headers do not
//! exist here: what is no plain header is refused.

use std::io::{self, Read};

use anyhow::Result;
use edge_docker_policy::refusal::refuse;
use tar::{EntryType, Header};

/// Size of a header, of which that of a file is padded to a multiple.
const BLOCK: usize = 512;
/// Bytes of a header that contain its checksum, and count as blanks in it.
const CHECKSUM: std::ops::Range<usize> = 148..156;

const TRUNCATED: &str = "the bundle is truncated: copy it again";

/// File of the archive.
pub(super) struct Entry {
    /// Name.
    pub(super) name: String,
    /// Size in bytes.
    pub(super) size: u64,
}

/// Reader of an archive; `Read` returns the content of the current file.
pub(super) struct Archive<R> {
    input: R,
    /// Bytes of the current file that were not read.
    left: u64,
    padding: u64,
    /// Whether the input ended in the middle of a file.
    pub(super) is_truncated: bool,
}

impl<R: Read> Archive<R> {
    pub(super) fn new(input: R) -> Self {
        Self {
            input,
            left: 0,
            padding: 0,
            is_truncated: false,
        }
    }

    /// Returns the next file, or `None` at the end.
    pub(super) fn next(&mut self) -> Result<Option<Entry>> {
        let skipped = io::copy(self, &mut io::sink());
        skipped.map_err(|error| self.failed(error))?;
        let mut block = [0; BLOCK];
        let padding = usize::try_from(self.padding).unwrap_or_default();
        self.fill(&mut block[..padding])?;
        self.padding = 0;
        self.fill(&mut block)?;
        if block.iter().all(|byte| *byte == 0) {
            self.fill(&mut block)?;
            return match block.iter().all(|byte| *byte == 0) {
                true => Ok(None),
                false => Err(refuse(
                    "the bundle is not an archive: its end is half of one",
                )),
            };
        }
        let entry = parse(&block)?;
        self.left = entry.size;
        self.padding = entry.size.next_multiple_of(BLOCK as u64) - entry.size;
        Ok(Some(entry))
    }

    /// Returns the content of the current file, which has at most `limit` bytes.
    pub(super) fn content(&mut self, entry: &Entry, limit: u64) -> Result<Vec<u8>> {
        if entry.size > limit {
            let (name, size) = (&entry.name, entry.size);
            return Err(refuse(format_args!(
                "the bundle is refused: {name} has {size} bytes, at most {limit} are permitted"
            )));
        }
        let mut content = Vec::new();
        let read = self.read_to_end(&mut content);
        read.map_err(|error| self.failed(error))?;
        Ok(content)
    }

    /// Returns the error of a read.
    pub(super) fn failed(&self, error: impl Into<anyhow::Error>) -> anyhow::Error {
        match self.is_truncated {
            true => refuse(TRUNCATED),
            false => error.into().context("reading the bundle"),
        }
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<()> {
        self.input
            .read_exact(buffer)
            .map_err(|error| match error.kind() {
                io::ErrorKind::UnexpectedEof => refuse(TRUNCATED),
                _ => anyhow::Error::new(error).context("reading the bundle"),
            })
    }
}

impl<R: Read> Read for Archive<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left).unwrap_or(usize::MAX);
        let most = most.min(buffer.len());
        let count = self.input.read(&mut buffer[..most])?;
        if count == 0 && most > 0 {
            self.is_truncated = true;
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= count as u64;
        Ok(count)
    }
}

fn parse(block: &[u8; BLOCK]) -> Result<Entry> {
    let refused = |why: &str| refuse(format_args!("the bundle is refused: {why}"));
    let header = Header::from_byte_slice(block);
    let sum: u32 = (block.iter().enumerate())
        .map(|(at, byte)| {
            if CHECKSUM.contains(&at) {
                32
            } else {
                u32::from(*byte)
            }
        })
        .sum();
    let is_tar = header.as_ustar().is_some() || header.as_gnu().is_some();
    if !is_tar || header.cksum().ok() != Some(sum) {
        return Err(refused("it is not an archive of edge-app bundle"));
    }
    let name = String::from_utf8_lossy(&header.path_bytes()).into_owned();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-./".contains(c);
    if !name.chars().all(plain) {
        return Err(refused("a file has a name that no bundle has"));
    }
    if header.entry_type() != EntryType::Regular {
        return Err(refused(&format!("{name} is not a regular file")));
    }
    let size = header.entry_size();
    let size = size.map_err(|_| refused(&format!("{name} has no size")))?;
    // Padded, it must still be a number.
    match size.checked_next_multiple_of(BLOCK as u64) {
        Some(_) => Ok(Entry { name, size }),
        None => Err(refused(&format!("{name} has an impossible size"))),
    }
}
