//! Archive of a layer, as it was pulled. The engine keeps its headers in
//! `tar-split.json.gz`, and the contents of its files in the layer's directory; together
//! they are the archive again, whose digest is signed.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Cursor, Read};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::read::GzDecoder;
use rustix::fs::FileType;
use serde::Deserialize;

use super::directory::Directory;
use super::normalized;

/// Size limit of a line of `tar-split.json.gz`, in bytes. A line has the header of one
/// file, or the zeros at the end of the archive.
const MAX_LINE_BYTES: u64 = 8 * 1024 * 1024;
/// Entry with the content of a file.
const FILE: u8 = 1;
/// Entry with bytes of the archive.
const SEGMENT: u8 = 2;

/// Line of `tar-split.json.gz`.
#[derive(Deserialize)]
struct Line {
    #[serde(rename = "type")]
    kind: u8,
    #[serde(default)]
    name: String,
    /// Name in base64, if it is not UTF-8.
    #[serde(default)]
    name_raw: Option<String>,
    #[serde(default)]
    size: u64,
    /// Bytes of a segment, or checksum of a file.
    #[serde(default)]
    payload: Option<String>,
}

/// Reader of the archive. Content that differs from the description is an error of the
/// kind `InvalidData`.
pub(super) struct LayerArchive<'a> {
    lines: BufReader<GzDecoder<File>>,
    directory: &'a Directory,
    part: Part,
    /// Bytes that the archive may still have.
    left: u64,
    /// Comparison of the files with their checksums, if it is wanted.
    checksums: Option<Checksums>,
    /// First error: readers in between replace its text.
    error: Option<io::Error>,
}

/// Part of the archive that is being read.
enum Part {
    Segment(Cursor<Vec<u8>>),
    File {
        file: File,
        left: u64,
        path: PathBuf,
        checksum: Vec<u8>,
    },
    End,
}

impl<'a> LayerArchive<'a> {
    /// Opens the archive that `description` and `directory` make up.
    pub(super) fn open(description: &Path, directory: &'a Directory) -> io::Result<Self> {
        let data = std::fs::symlink_metadata(description)?;
        if !data.is_file() {
            return Err(invalid("its description is no file"));
        }
        Ok(Self {
            lines: BufReader::new(GzDecoder::new(File::open(description)?)),
            directory,
            part: Part::Segment(Cursor::default()),
            left: directory.capacity()?,
            checksums: None,
            error: None,
        })
    }

    /// Returns the first error of reading, if there was one.
    pub(super) fn take_error(&mut self) -> Option<io::Error> {
        self.error.take()
    }

    /// Reads the archive and returns the first file whose content is not the described one.
    pub(super) fn changed_file(mut self) -> Option<PathBuf> {
        self.checksums = Some(Checksums::new());
        // Up to an error, if there is one: the layer is known to be damaged.
        let _ = io::copy(&mut self, &mut io::sink());
        self.checksums.and_then(|checksums| checksums.changed)
    }

    /// Goes on to the next part.
    fn advance(&mut self) -> io::Result<()> {
        let mut text = Vec::new();
        let mut limited = (&mut self.lines).take(MAX_LINE_BYTES);
        let length = limited.read_until(b'\n', &mut text).map_err(broken)?;
        if length == 0 {
            self.part = Part::End;
            return Ok(());
        }
        if text.last() != Some(&b'\n') {
            return Err(invalid("a line of its description is cut or oversized"));
        }
        let line: Line = serde_json::from_slice(&text)
            .map_err(|_| invalid("a line of its description is no JSON of the engine's"))?;
        self.part = match line.kind {
            SEGMENT => Part::Segment(Cursor::new(decode(line.payload.as_deref())?)),
            FILE if line.size == 0 => Part::Segment(Cursor::default()),
            FILE => self.file(&line)?,
            _ => return Err(invalid("its description has an unknown kind of line")),
        };
        Ok(())
    }

    fn file(&self, line: &Line) -> io::Result<Part> {
        let path = match &line.name_raw {
            Some(raw) => normalized(&decode(Some(raw))?),
            None => normalized(line.name.as_bytes()),
        };
        let shown = path.display();
        let found = self.directory.find(&path).map_err(|error| {
            match error.kind() == io::ErrorKind::NotFound {
                true => invalid(format_args!("/{shown} is missing")),
                false => error,
            }
        })?;
        if found.kind() != FileType::RegularFile {
            return Err(invalid(format_args!("the kind of /{shown} is another")));
        }
        if u64::try_from(found.stat.st_size) != Ok(line.size) {
            return Err(invalid(format_args!("the size of /{shown} is another")));
        }
        Ok(Part::File {
            file: found.read()?,
            left: line.size,
            path,
            checksum: decode(line.payload.as_deref())?,
        })
    }

    /// Reads from the current part; 0 at its end.
    fn read_part(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.part {
            Part::Segment(segment) => segment.read(buffer),
            Part::End => Ok(0),
            Part::File {
                file,
                left,
                path,
                checksum,
            } => {
                if *left == 0 {
                    return Ok(0);
                }
                let most = usize::try_from(*left)
                    .unwrap_or(usize::MAX)
                    .min(buffer.len());
                let length = file.read(&mut buffer[..most])?;
                if length == 0 {
                    return Err(invalid(format_args!(
                        "the size of /{} is another",
                        path.display()
                    )));
                }
                *left -= length as u64;
                if let Some(checksums) = &mut self.checksums {
                    checksums.add(
                        &buffer[..length],
                        (*left == 0).then_some((&*path, &*checksum)),
                    );
                }
                Ok(length)
            }
        }
    }
}

impl Read for LayerArchive<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.read_on(buffer).map_err(|error| {
            let kind = error.kind();
            self.error.get_or_insert(error);
            kind.into()
        })
    }
}

impl LayerArchive<'_> {
    fn read_on(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let length = self.read_part(buffer)?;
            if length > 0 {
                let left = self.left.checked_sub(length as u64);
                // A file with holes could otherwise keep the check busy for days.
                self.left = left.ok_or_else(|| invalid("it is larger than the file system"))?;
                return Ok(length);
            }
            if buffer.is_empty() || matches!(self.part, Part::End) {
                return Ok(0);
            }
            self.advance()?;
        }
    }
}

/// CRC-64 (ISO) of files, which the description has beside each. It proves nothing, but
/// tells which file of a changed layer to name.
struct Checksums {
    table: [u64; 256],
    state: u64,
    changed: Option<PathBuf>,
}

impl Checksums {
    fn new() -> Self {
        let mut table = [0_u64; 256];
        for (value, at) in table.iter_mut().zip(0_u64..) {
            *value = (0..8).fold(at, |crc, _| match crc & 1 {
                1 => crc >> 1 ^ 0xD800_0000_0000_0000,
                _ => crc >> 1,
            });
        }
        let (state, changed) = (u64::MAX, None);
        Self {
            table,
            state,
            changed,
        }
    }

    fn add(&mut self, bytes: &[u8], end: Option<(&PathBuf, &Vec<u8>)>) {
        for byte in bytes {
            let at = self.state.to_le_bytes()[0] ^ byte;
            self.state = self.table[usize::from(at)] ^ self.state >> 8;
        }
        if let Some((path, checksum)) = end {
            let differs = (!self.state).to_be_bytes() != checksum[..];
            if differs && self.changed.is_none() {
                self.changed = Some(path.clone());
            }
            self.state = u64::MAX;
        }
    }
}

fn decode(text: Option<&str>) -> io::Result<Vec<u8>> {
    let decoded = STANDARD.decode(text.unwrap_or_default());
    decoded.map_err(|_| invalid("a line of its description is no base64"))
}

/// Returns an error for compressed data that is cut or changed.
fn broken(error: io::Error) -> io::Error {
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidInput => {
            invalid("its description is cut or changed")
        }
        _ => error,
    }
}

pub(super) fn invalid(what: impl ToString) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_the_engine() {
        let mut checksums = Checksums::new();
        // Check value of CRC-64/GO-ISO.
        let path = PathBuf::from("a");
        let expected = vec![0xB9, 0x09, 0x56, 0xC7, 0x75, 0xA4, 0x10, 0x01];
        checksums.add(b"12345", None);
        checksums.add(b"6789", Some((&path, &expected)));
        assert_eq!(checksums.changed, None);
        checksums.add(b"12346789", Some((&path, &expected)));
        assert_eq!(checksums.changed, Some(path));
    }
}
