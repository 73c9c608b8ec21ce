//! Check of one layer on the disk: its archive has the signed digest, and its directory is
//! what the engine extracted from the archive.
//!
//! The engine is not asked, so that the check works before its start. Of each path only a
//! hash is kept, because a layer of L4T has hundreds of thousands of files.

mod archive;
mod contents;
mod directory;
mod init;
mod item;

use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Component, Path, PathBuf};

use edge_common::hex;
use edge_signature::Digest;
use openssl::sha::Sha256;
use tar::Archive;

use self::archive::LayerArchive;
use self::contents::Contents;
use self::directory::Directory;
pub(super) use self::init::{ExpectedInit, is_plain_root};
use super::fault::Fault;

/// Layer of an image in the engine's storage.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Layer {
    /// Digest of its archive, from the configuration of the image.
    pub(super) digest: Digest,
    /// Directory to which the archive was extracted.
    pub(super) directory: PathBuf,
    /// File `tar-split.json.gz` with the headers of the archive.
    pub(super) description: PathBuf,
}

/// Reader that computes the SHA-256 of everything that is read from it.
struct Hashing<R>(R, Sha256);

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let length = self.0.read(buffer)?;
        self.1.update(&buffer[..length]);
        Ok(length)
    }
}

impl Layer {
    /// Returns a name of the layer in records: that of its directory, with its digest.
    /// Another extraction of the same archive has another name, and so has another layer
    /// that an edit of the disk leads to the same directory.
    pub(super) fn name(&self) -> String {
        let name = Self::name_in(self.directory.parent().unwrap_or(&self.directory));
        format!("{name} {}", self.digest)
    }

    /// Returns the name of a layer's directory, the one that `diff` is in.
    pub(super) fn name_in(directory: &Path) -> String {
        let name = directory.file_name();
        name.unwrap_or_default().to_string_lossy().into_owned()
    }

    /// Checks the layer. The fault names the first path that differs; it is `Unreadable` if
    /// the disk failed.
    pub(super) fn check(&self) -> Result<(), Fault> {
        let directory = Directory::open(&self.directory).map_err(fault)?;
        let open = || LayerArchive::open(&self.description, &directory).map_err(fault);
        let mut archive = Archive::new(Hashing(open()?, Sha256::new()));
        let mut contents = Contents::of(&directory);
        let parsed = contents.compare(&mut archive);
        let mut rest = archive.into_inner();
        let end = io::copy(&mut rest, &mut io::sink());
        if let Some(error) = rest.0.take_error().or(end.err()) {
            return Err(fault(error));
        }
        if hex::encode(rest.1.finish()) != self.digest.hex() {
            return Err(match open()?.changed_file() {
                Some(path) => format!("the content of /{} is another", path.display()).into(),
                None => "its content is another".into(),
            });
        }
        parsed.map_err(|error| Fault::of(&error.context("comparing it with its archive")))?;
        contents.finish()
    }
}

/// Returns the fault of an error of the file system. That something is missing is a
/// difference.
fn fault(error: io::Error) -> Fault {
    match error.kind() {
        io::ErrorKind::NotFound => Fault::Breaks("a part of it is missing".into()),
        io::ErrorKind::InvalidData => Fault::Breaks(error.to_string()),
        _ => Fault::io("it cannot be read", &error),
    }
}

/// Returns a path without `.`, `..` and slashes at both ends: `./usr/bin/` as `usr/bin`.
fn normalized(path: &[u8]) -> PathBuf {
    let path = Path::new(OsStr::from_bytes(path));
    let parts = path.components();
    parts
        .filter(|p| matches!(p, Component::Normal(_)))
        .collect()
}
