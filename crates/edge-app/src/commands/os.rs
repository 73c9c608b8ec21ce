//! `os`: signs, pushes, verifies and lists images of the operating system.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result, bail};
use edge_common::exit::Failure;
use edge_common::{file, hex, log};
use edge_signature::dsse::Role;
use edge_signature::os::{OsImage, TAG};
use edge_signature::{Digest, Registry};
use openssl::sha::Sha256;
use serde_json::json;

use crate::cli::os::{OsCommand, OsPush};
use crate::exit_code::{CONFIGURATION, SIGNATURE, registry_error};
use crate::image::os_bundle::OsBundle;
use crate::output::table;
use crate::project::config::Project;
use crate::project::signing::Signer;

/// Size of the pieces in which a bundle is read and sent, in bytes.
const PIECE_BYTES: usize = 1 << 20;

/// Runs a subcommand of `os`.
pub(crate) async fn run(project: &Project, command: OsCommand) -> Result<()> {
    match command {
        OsCommand::Push(options) => push(project, &options).await,
        OsCommand::Verify { version, key, out } => {
            verify(project, &version, key.as_deref(), out.as_deref()).await
        }
        OsCommand::List { json, key } => list(project, json, key.as_deref()).await,
    }
}

async fn push(project: &Project, options: &OsPush) -> Result<()> {
    let signer = Signer::os(project, options.key.as_deref()).await?;
    let bundle = OsBundle::read(&options.bundle).map_err(|e| Failure::wrap(CONFIGURATION, e))?;
    let mut image = described(options, &bundle).map_err(|e| Failure::wrap(2, e))?;
    let keys = signer.keys().await?;
    // Before the description, which names the digest of the signed bundle.
    bundle.sign(&signer, &keys).await?;
    let (digest, bundle_size) = hashed(&options.bundle)?;
    image.bundle = digest.as_str().into();
    image.bundle_size = bundle_size;
    let payload = image.payload();
    let signature = signer.sign(&Role::Os.to_sign(&payload)).await?;
    let envelope = Role::Os.seal(&payload, &signature);
    OsImage::verify(&keys, &envelope).map_err(|e| Failure::error(SIGNATURE, e))?;
    let registry = project.registry().await?;
    let before = registry.os_image(&keys, &image.version).await;
    if before
        .map_err(registry_error)?
        .is_some_and(|b| b.image != image)
    {
        return Err(Failure::error(
            2,
            format_args!(
                "version {} exists with other content: choose another version",
                image.version
            ),
        ));
    }
    upload(&registry, &options.bundle, &digest).await?;
    let pushed = registry.push_os_image(&image, envelope.clone()).await;
    let pushed = pushed.map_err(registry_error)?;
    if let Some(path) = &options.out {
        write(path, &envelope)?;
    }
    println!("{}@{pushed}", registry.repository());
    Ok(())
}

/// Returns the description of a bundle, whose own size and digest are those of its last
/// signature and not known yet.
fn described(options: &OsPush, bundle: &OsBundle) -> Result<OsImage> {
    let stated = |section, key| bundle.value(section, key).unwrap_or("nothing");
    for (name, ours, theirs) in [
        (
            "compatible",
            &options.compatible,
            stated("update", "compatible"),
        ),
        ("version", &options.version, stated("update", "version")),
    ] {
        if ours != theirs {
            bail!("--{name} is {ours}, and the bundle's manifest states {theirs}: build it again");
        }
    }
    let size = stated("image.rootfs", "size").parse();
    let size = size.context("the bundle has no image.rootfs: build it again")?;
    if options.size.is_some_and(|s| s != size) {
        bail!("--size is not {size}, the size of image.rootfs in the bundle");
    }
    let manifest_hash = bundle.manifest_hash();
    let expected = options.manifest_hash.as_ref();
    if expected.is_some_and(|h| *h != manifest_hash) {
        bail!("--manifest-hash is not {manifest_hash}, the hash of the bundle's manifest");
    }
    // No error: a first update of a fleet may well be a whole one.
    if bundle.value("image.rootfs", "adaptive").is_none() {
        log::warn("image.rootfs has no `adaptive=block-hash-index`: each update fetches all of it");
    }
    let image = OsImage {
        v: 1,
        version: options.version.clone(),
        number: options.number,
        compatible: options.compatible.clone(),
        l4t: options.l4t.clone(),
        size,
        manifest_hash,
        bundle: Digest::of(b"").as_str().into(),
        bundle_size: 1,
        data_format: options.data_format,
        read_by_data_format: options.read_by_data_format.unwrap_or(options.data_format),
        capsule: false,
    };
    // A device would refuse it after the download.
    Ok(OsImage::parse(&image.payload())?)
}

/// Returns the digest and the size of a file.
fn hashed(path: &Path) -> Result<(Digest, u64)> {
    let context = || format!("reading {}", path.display());
    let failed = |e: anyhow::Error| Failure::wrap(CONFIGURATION, e);
    let mut file = File::open(path).with_context(context).map_err(failed)?;
    let (mut hash, mut size) = (Sha256::new(), 0);
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let count = file
            .read(&mut piece)
            .with_context(context)
            .map_err(failed)?;
        if count == 0 {
            break;
        }
        hash.update(&piece[..count]);
        size += count as u64;
    }
    let digest = format!("sha256:{}", hex::encode(hash.finish()));
    Ok((digest.parse().map_err(|e| Failure::error(1, e))?, size))
}

/// Uploads the bundle, unless the registry has it.
async fn upload(registry: &Registry, path: &Path, digest: &Digest) -> Result<()> {
    // A bundle has hundreds of megabytes, and a push may have been interrupted after it.
    if registry
        .blob_size(digest)
        .await
        .map_err(registry_error)?
        .is_some()
    {
        return Ok(());
    }
    let context = || format!("reading {}", path.display());
    let mut file = File::open(path).with_context(context)?;
    let mut upload = registry.begin_blob().await.map_err(registry_error)?;
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        let count = file.read(&mut piece).with_context(context)?;
        if count == 0 {
            break;
        }
        let piece = piece[..count].to_vec().into();
        upload.send(piece).await.map_err(registry_error)?;
    }
    upload.finish(digest).await.map_err(registry_error)
}

async fn verify(
    project: &Project,
    version: &str,
    key: Option<&Path>,
    out: Option<&Path>,
) -> Result<()> {
    let keys = Signer::os(project, key).await?.keys().await?;
    let registry = project.registry().await?;
    let found = registry.os_image(&keys, version).await;
    let Some(found) = found.map_err(registry_error)? else {
        return Err(Failure::error(
            crate::exit_code::REGISTRY,
            format_args!("the registry has no OS image of version {version}: edge-app os list"),
        ));
    };
    let bundle: Digest = found
        .image
        .bundle
        .parse()
        .map_err(|e| Failure::error(SIGNATURE, e))?;
    // The signature covers the digest alone; the registry may have lost the bundle.
    let size = registry.blob_size(&bundle).await.map_err(registry_error)?;
    if size != Some(found.image.bundle_size) {
        return Err(Failure::error(
            SIGNATURE,
            format_args!("the registry does not have the signed bundle {bundle}: push it again"),
        ));
    }
    if let Some(path) = out {
        write(path, &found.envelope)?;
    }
    println!("{}", serde_json::to_string_pretty(&found.image)?);
    Ok(())
}

async fn list(project: &Project, as_json: bool, key: Option<&Path>) -> Result<()> {
    let keys = Signer::os(project, key).await?.keys().await?;
    let registry = project.registry().await?;
    let mut tags = registry.tags().await.map_err(registry_error)?;
    tags.sort();
    let mut rows = Vec::new();
    for version in tags.iter().filter_map(|t| t.strip_prefix(TAG)) {
        let row = match registry.os_image(&keys, version).await {
            Ok(Some(found)) => json!({
                "version": version, "number": found.image.number, "digest": found.digest,
                "compatible": found.image.compatible, "problem": null,
            }),
            Ok(None) => continue,
            // One that anybody could push must not hide the others.
            Err(error) => json!({ "version": version, "problem": error.to_string() }),
        };
        rows.push(row);
    }
    if as_json {
        println!("{}", serde_json::to_string_pretty(&rows)?);
        return Ok(());
    }
    let text = |row: &serde_json::Value, key: &str| match &row[key] {
        serde_json::Value::String(text) => text.clone(),
        serde_json::Value::Null => "-".into(),
        other => other.to_string(),
    };
    let cells = |row| {
        let keys = ["version", "number", "compatible", "problem"];
        keys.map(|key| text(row, key)).to_vec()
    };
    let cells: Vec<_> = rows.iter().map(cells).collect();
    table::print(&["VERSION", "NUMBER", "BOARD", "PROBLEM"], &cells);
    Ok(())
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    // The parent of a bare file name is the empty path.
    file::write(&Path::new(".").join(path), bytes, 0o644)
}
