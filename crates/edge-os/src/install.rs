//! `edge-os check` and `edge-os install`: whatever speaks against an update is said before
//! a byte is written.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::Path;

use anyhow::{Context, Result, bail};
use edge_common::contract::limit::ANCHOR_BYTES;
use edge_common::contract::path::CONTAINER_CONFIG;
use edge_common::exit::Failure;
use edge_common::{Root, file, lock, log};
use edge_signature::os::{MAX_ENVELOPE_BYTES, OsImage};
use edge_signature::{Digest, Keys};

use crate::address::{self, Login};
use crate::args::Image;
use crate::backend::{Backend, UNBOOTABLE, Variable};
use crate::bundle;
use crate::exit_code::{IMAGE, PHASE};
use crate::health;
use crate::image::Running;
use crate::journal::{Committed, Journal, Phase, Recorded, Release, Update};
use crate::observe::observe;
use crate::preflight::{Source, Wanted, probe, refusals, require};
use crate::rauc;
use crate::settle;
use crate::slot::Slot;

/// Beginning of the names of the keys that sign OS images, `os-signing*.pub`.
const KEYS: &str = "os-signing";
/// Digest of an OS that was flashed and not installed.
const FLASHED: &str = "flashed";

/// Image that was asked for, with its signature verified.
struct Verified {
    image: OsImage,
    /// Digest of the signed description.
    digest: String,
    source: Source,
    /// File or address from which RAUC reads the bundle.
    place: Option<OsString>,
    /// Keys that sign OS images.
    keys: Keys,
}

/// Prints all refusals.
pub(crate) fn check(root: &Root, backend: &impl Backend, image: &Image) -> Result<()> {
    let verified = verified(root, image)?;
    let facts = probe(root, backend, false)?;
    let wanted = verified.as_ref().map(|v| v.wanted(image.one_way));
    let refusals = refusals(&facts, wanted);
    for refusal in &refusals {
        println!("{}: {}", refusal.check, refusal.message);
    }
    if refusals.is_empty() {
        println!("nothing speaks against an update");
    }
    require(&refusals)
}

impl Verified {
    fn wanted(&self, one_way: bool) -> Wanted<'_> {
        Wanted {
            offered: &self.image,
            digest: &self.digest,
            source: &self.source,
            one_way,
        }
    }
}

/// Verifies the signed description of an image, and finds its bundle.
fn verified(root: &Root, image: &Image) -> Result<Option<Verified>> {
    let Some(path) = &image.description else {
        return Ok(None);
    };
    let login = Login::read(image)?;
    let refused = |e: anyhow::Error| Failure::wrap(IMAGE, e.context("refused: signature"));
    let keys = keys(root).map_err(refused)?;
    let limit = u64::try_from(MAX_ENVELOPE_BYTES)?;
    let envelope = file::read(path, limit).map_err(refused)?;
    let offered = OsImage::verify(&keys, &envelope).map_err(|e| refused(e.into()))?;
    let bundle = image.bundle.as_deref();
    let (source, place) = source(root, bundle, &offered, &keys, login.as_ref());
    Ok(Some(Verified {
        digest: Digest::of(&offered.payload()).as_str().into(),
        source,
        place,
        image: offered,
        keys,
    }))
}

/// Examines the bundle in a file or in the registry. Returns what RAUC reads it from, too,
/// unless it is refused.
fn source(
    root: &Root,
    bundle: Option<&Path>,
    image: &OsImage,
    keys: &Keys,
    login: Option<&Login>,
) -> (Source, Option<OsString>) {
    match bundle {
        Some(path) => (bundle::file(path, image, keys), Some(path.into())),
        None => {
            let (source, address) = address::examine(root, image, keys, login);
            (source, address.map(OsString::from))
        }
    }
}

/// Reads the public keys that sign OS images.
fn keys(root: &Root) -> Result<Keys> {
    let directory = root.path(CONTAINER_CONFIG);
    let context = || format!("reading {CONTAINER_CONFIG}");
    let mut paths = Vec::new();
    for entry in fs::read_dir(&directory).with_context(context)? {
        let path = entry.with_context(context)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if name.starts_with(KEYS) && name.ends_with(".pub") {
            paths.push(path);
        }
    }
    if paths.is_empty() {
        bail!("this image has no {KEYS}*.pub and takes no OS updates: see docs/keys.md");
    }
    paths.sort();
    let pems: Result<Vec<_>> = paths.iter().map(|p| file::read(p, ANCHOR_BYTES)).collect();
    Keys::from_pems(&pems?).with_context(|| format!("reading {KEYS}*.pub of {CONTAINER_CONFIG}"))
}

/// Writes an image to the other slot and asks the firmware for it.
pub(crate) fn install(root: &Root, backend: &impl Backend, image: &Image) -> Result<()> {
    let verified = verified(root, image)?;
    let Some(verified) = verified else {
        return Err(Failure::error(
            2,
            "name the signed description of the image",
        ));
    };
    file::create_directory(&root.path(edge_common::contract::path::OS_DIRECTORY), 0o755)?;
    let lock = lock::try_exclusive(&root.path(edge_common::contract::path::OS_DIRECTORY))?;
    let lock = lock
        .ok_or_else(|| Failure::error(PHASE, "refused: under-way: another edge-os install runs"))?;
    let facts = probe(root, backend, true)?;
    require(&refusals(&facts, Some(verified.wanted(image.one_way))))?;
    let observed = observe(root, backend)?;
    let journal = Recorded::load(root).journal();
    let target = observed.root.other();
    if !is_written(&journal, target, &verified.digest) {
        write(root, backend, &lock, observed.root, &verified)?;
    }
    settle::arm(root, backend, &observed.boot_id)
}

/// Returns whether the target already has the image, after a restart before the request.
fn is_written(journal: &Journal, target: Slot, digest: &str) -> bool {
    let update = journal.update.as_ref();
    let same = update.is_some_and(|u| u.target == target && u.release.digest == digest);
    same && journal.phase == Phase::Written
}

fn write(
    root: &Root,
    backend: &impl Backend,
    lock: &File,
    running: Slot,
    verified: &Verified,
) -> Result<()> {
    let place = verified.place.as_deref().context("no bundle is named")?;
    let mut journal = Recorded::load(root).journal();
    if journal.committed.is_none() {
        let release = flashed(root)?;
        journal.committed = Some(Committed {
            slot: running,
            release,
        });
    }
    let image = &verified.image;
    let release = Release {
        digest: verified.digest.clone(),
        number: image.number,
        version: image.version.clone(),
    };
    let target = running.other();
    // The other slot has no OS any more, from the first byte on.
    journal.previous = None;
    journal.update = Some(Update::new(target, release, health::before(root)));
    journal.save(root, Phase::Fetching)?;
    log::info(format_args!(
        "writing version {} to slot {target}",
        image.version
    ));
    // Whatever the firmware starts next, it is no half of a system.
    backend.set(Variable::Status(target), UNBOOTABLE)?;
    let (keys, hash) = (&verified.keys, &image.manifest_hash);
    rauc::write(root, lock, running, keys, hash, place)?;
    journal.save(root, Phase::Written)
}

/// Returns the release of the running image, which no signature of ours describes.
fn flashed(root: &Root) -> Result<Release> {
    let running = Running::load(root)?;
    Ok(Release {
        digest: FLASHED.into(),
        number: running.number,
        version: running.version,
    })
}
