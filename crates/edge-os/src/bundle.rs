//! Bundle of an update: what can be known about it before a byte is written.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use anyhow::{Context, Result, bail};
use edge_common::hex;
use edge_signature::os::OsImage;
use edge_signature::{BUNDLE_TAIL_BYTES, BundleEnd, Keys, signed_manifest};
use openssl::sha::{Sha256, sha256};

use crate::preflight::Source;

/// Size of the pieces in which a file is read, in bytes.
const PIECE_BYTES: usize = 256 * 1024;

/// Examines a bundle in a file: the whole of it must be the signed one.
pub(crate) fn file(path: &Path, image: &OsImage, keys: &Keys) -> Source {
    let context = || format!("reading {}", path.display());
    let opened = File::open(path).and_then(|f| Ok((f.metadata()?, f)));
    let (metadata, mut file) = match opened.with_context(context) {
        Ok(opened) => opened,
        Err(error) => return Source::Unusable(format!("{error:#}")),
    };
    if !metadata.is_file() {
        return Source::Unusable(format!("{} is no file", path.display()));
    }
    let bytes = metadata.len();
    // Another size is a reason of its own, and the file need not be read.
    if bytes != image.bundle_size {
        return Source::File(bytes);
    }
    let examined = tail(&mut file, bytes).and_then(|tail| signature(bytes, &tail, image, keys));
    match examined.and_then(|()| digest(&mut file, image)) {
        Ok(()) => Source::File(bytes),
        Err(error) => Source::Unusable(format!("{}: {error:#}", path.display())),
    }
}

fn tail(file: &mut File, bytes: u64) -> Result<Vec<u8>> {
    let from = bytes.saturating_sub(BUNDLE_TAIL_BYTES as u64);
    file.seek(SeekFrom::Start(from))?;
    let mut tail = Vec::new();
    file.take(BUNDLE_TAIL_BYTES as u64).read_to_end(&mut tail)?;
    Ok(tail)
}

/// Verifies the signature at the end of a bundle, as RAUC does later, and that it covers
/// the manifest that the description names.
pub(crate) fn signature(bytes: u64, tail: &[u8], image: &OsImage, keys: &Keys) -> Result<()> {
    let end = BundleEnd::parse(bytes, tail).context("it is no bundle of RAUC")?;
    let manifest = signed_manifest(&end.signature, Some(keys))
        .context("the OS key did not sign it: run edge-app os push")?;
    if hex::encode(sha256(&manifest)) != image.manifest_hash {
        bail!("its manifest is not the one that is described: fetch both again");
    }
    Ok(())
}

fn digest(file: &mut File, image: &OsImage) -> Result<()> {
    file.seek(SeekFrom::Start(0))?;
    let mut hash = Sha256::new();
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        match file.read(&mut piece)? {
            0 => break,
            count => hash.update(&piece[..count]),
        }
    }
    if format!("sha256:{}", hex::encode(hash.finish())) != image.bundle {
        bail!("it is not the bundle that is described: fetch it again");
    }
    Ok(())
}
