//! `load`: loads container images from an archive on standard input, only under names
//! `sandbox/…`.
//!
//! The archive's table of contents is rewritten during the upload, because the engine
//! gives an image every name that the table contains, including names in the signed
//! repository.

use std::collections::BTreeSet;
use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use edge_common::{Root, log};
use edge_docker_policy::identity::sandbox_app;
use edge_docker_policy::image_labels;
use edge_docker_policy::mounts::relative_parts;
use edge_docker_policy::refusal::refuse;
use edge_docker_policy::strict_json;
use flate2::bufread::GzDecoder;
use serde::{Deserialize, Serialize};
use tar::{Archive, Builder, EntryType, Header};

use super::progress;
use super::zstd::{self, Frames};
use crate::engine::transfer;
use crate::{ledger, trust};

/// Size limit of `manifest.json`, in bytes.
const MAX_MANIFEST_BYTES: u64 = 4 * 1024 * 1024;
/// Size of the buffers between standard input, the filter and the upload, in bytes.
const BUFFER_BYTES: usize = 1 << 16;
/// Name of the table of contents that `docker save` writes.
const MANIFEST: &str = "manifest.json";
/// Tables of contents of other archive formats, which are removed: they name images too,
/// and some versions of the engine read them instead of [`MANIFEST`].
const OTHER_TABLES: [&str; 3] = ["repositories", "index.json", "oci-layout"];

/// Carries out `load [-q]`: sends the filtered archive from standard input to the engine.
pub(crate) async fn run(root: &Root, args: &[&str]) -> Result<()> {
    if !args.is_empty() {
        return Err(refuse("load reads standard input only"));
    }
    trust::load(root)?.sandbox_allowed("load")?;
    if io::stdin().is_terminal() {
        return Err(refuse(
            "load reads an archive: docker save … | edge-docker load",
        ));
    }
    let produce = |out: &mut dyn Write| filter(io::stdin(), out);
    ledger::record(root, "load")?;
    let path = "/images/load?quiet=1";
    transfer::upload(root, path, produce, progress::print_stream).await
}

/// Entry of `manifest.json` for one image. All other fields are removed, for example
/// `LayerSources` with URLs from which the engine would fetch layers.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Entry {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Vec<String>,
}

/// Copies an archive (plain, gzip or zstd) to `out` and keeps only the names of sandbox
/// images.
fn filter(input: impl Read, out: &mut dyn Write) -> Result<()> {
    decompress(input, |archive| copy(archive, out))
}

/// Passes an archive (plain, gzip or zstd) to `read` without its compression.
pub(super) fn decompress<T>(
    input: impl Read,
    read: impl FnOnce(&mut dyn Read) -> Result<T>,
) -> Result<T> {
    let mut input = BufReader::with_capacity(BUFFER_BYTES, input);
    let start = input.fill_buf().context("reading the archive")?;
    if start.starts_with(b"\x1f\x8b") {
        read(&mut GzDecoder::new(input))
    } else if start.starts_with(zstd::MAGIC) {
        read(&mut Frames::new(input))
    } else {
        read(&mut input)
    }
}

fn copy(input: &mut dyn Read, out: &mut dyn Write) -> Result<()> {
    let context = "reading the archive";
    let mut archive = Archive::new(input);
    let mut builder = Builder::new(io::BufWriter::with_capacity(BUFFER_BYTES, out));
    let mut configs = None;
    let mut judged = BTreeSet::new();
    for entry in archive.entries().context(context)? {
        let mut entry = entry.map_err(|e| refuse(format_args!("load: not an archive: {e}")))?;
        let path = relative_path(&entry.path().context(context)?)?;
        let name = path.to_string_lossy().into_owned();
        let kind = entry.header().entry_type();
        if OTHER_TABLES.contains(&name.as_str()) || path.as_os_str().is_empty() {
            continue;
        }
        // A new header, because the engine's parser could interpret owners, times and
        // extended attributes of the input differently.
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(if kind.is_dir() { 0o755 } else { 0o644 });
        if name == MANIFEST {
            let mut text = Vec::new();
            let mut entry = entry.take(MAX_MANIFEST_BYTES);
            entry.read_to_end(&mut text).context(context)?;
            let (text, named) = filter_manifest(&text)?;
            header.set_size(text.len() as u64);
            builder.append_data(&mut header, &path, &text[..])?;
            configs.get_or_insert_with(BTreeSet::new).extend(named);
        } else if kind.is_file() && entry.size() <= MAX_MANIFEST_BYTES {
            // Any small file may be the configuration of an image; the table of contents
            // may come later.
            let (text, is_config) = small_file(&mut entry)?;
            match is_config {
                true => judged.insert(path.clone()),
                false => judged.remove(&path),
            };
            header.set_size(text.len() as u64);
            builder.append_data(&mut header, &path, &text[..])?;
        } else if kind.is_file() {
            judged.remove(&path);
            header.set_size(entry.size());
            builder.append_data(&mut header, &path, &mut entry)?;
        } else if kind.is_dir() {
            header.set_size(0);
            builder.append_data(&mut header, &path, io::empty())?;
        } else if kind == EntryType::Symlink && path.ends_with("layer.tar") {
            // `docker save` writes a layer of several images only once, and symbolic
            // links to it, which the engine resolves within the archive.
            let target = entry.link_name().context(context)?.unwrap_or_default();
            header.set_size(0);
            builder.append_link(&mut header, &path, &target)?;
        } else {
            return Err(refuse(format_args!(
                "load: {name:?} is neither file nor directory"
            )));
        }
    }
    let Some(configs) = configs else {
        return Err(refuse("load: not an archive of docker save"));
    };
    if let Some(config) = configs.difference(&judged).next() {
        return Err(refuse(format_args!(
            "load: {config:?}, the configuration of an image, is missing, too large or not JSON"
        )));
    }
    let mut out = builder.into_inner().context("sending the archive")?;
    out.flush().context("sending the archive")
}

/// Returns the content of a file, and whether it may be the configuration of an image;
/// refuses a configuration with labels of edge-docker's.
fn small_file(entry: &mut impl Read) -> Result<(Vec<u8>, bool)> {
    let mut text = Vec::new();
    entry
        .read_to_end(&mut text)
        .context("reading the archive")?;
    let image = strict_json::parse(&text).ok();
    if let Some(image) = &image {
        image_labels::require_none_in_image("load", image)?;
    }
    Ok((text, image.is_some()))
}

/// Returns `path` without its `.` components; refuses a path that leads out of the
/// archive.
fn relative_path(path: &Path) -> Result<PathBuf> {
    let parts = relative_parts(path);
    let parts = parts.ok_or_else(|| refuse(format_args!("load: path {path:?} is refused")))?;
    // Such a path could lead through a link to a file that is judged already.
    let parents = &parts[..parts.len().saturating_sub(1)];
    if parents.iter().any(|part| *part == "layer.tar") {
        return Err(refuse(format_args!("load: path {path:?} is refused")));
    }
    Ok(parts.into_iter().collect())
}

/// Returns `manifest.json` with sandbox names only, and the paths of the images'
/// configurations. An image without a sandbox name is removed from the table, and so is
/// not loaded.
fn filter_manifest(text: &[u8]) -> Result<(Vec<u8>, Vec<PathBuf>)> {
    let entries: Vec<Entry> = serde_json::from_slice(text)
        .map_err(|e| refuse(format_args!("load: parsing {MANIFEST}: {e}")))?;
    let mut kept = Vec::new();
    let mut dropped = Vec::new();
    for mut entry in entries {
        let names = entry.repo_tags.take().unwrap_or_default();
        let (sandboxes, others): (Vec<_>, Vec<_>) =
            names.into_iter().partition(|n| sandbox_app(n).is_some());
        dropped.extend(others);
        if !sandboxes.is_empty() {
            entry.repo_tags = Some(sandboxes);
            kept.push(entry);
        }
    }
    let names = dropped.join(", ");
    if kept.is_empty() {
        return Err(refuse(format_args!(
            "load is refused: the archive has no image named sandbox/APP[:TAG]{}{names}",
            if names.is_empty() { "" } else { ", only " }
        )));
    }
    if !names.is_empty() {
        log::warn(format_args!(
            "load keeps names sandbox/APP only; dropped: {names}"
        ));
    }
    let configs = kept
        .iter()
        .map(|entry| relative_path(Path::new(&entry.config)));
    let configs = configs.collect::<Result<_>>()?;
    let text = serde_json::to_vec(&kept).context("encoding the table of contents")?;
    Ok((text, configs))
}

#[cfg(test)]
mod tests {
    use super::*;
    use edge_common::contract::label;

    fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut builder = Builder::new(Vec::new());
        for (name, content) in files {
            let mut header = Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, name, *content).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn filtered(input: &[u8]) -> Result<Vec<(String, String)>> {
        let mut out = Vec::new();
        filter(input, &mut out)?;
        let mut archive = Archive::new(&out[..]);
        let entries = archive.entries()?.map(|entry| {
            let mut entry = entry?;
            let mut text = String::new();
            entry.read_to_string(&mut text)?;
            Ok((entry.path()?.to_string_lossy().into_owned(), text))
        });
        entries.collect()
    }

    const MANIFEST_OF_A_SANDBOX: &[u8] =
        br#"[{"Config":"c.json","RepoTags":["sandbox/a:latest"],"Layers":["l/layer.tar"]}]"#;

    #[test]
    fn sandbox_names_are_kept_and_other_tables_dropped() {
        let long = format!("blobs/{}", "x".repeat(180));
        let mixed = br#"[{"Config":"c.json","RepoTags":["r.io/edge-ai:v","sandbox/a:1"],"Layers":[],
            "LayerSources":{"x":{"urls":["http://evil"]}}},{"Config":"d","RepoTags":["alpine:3"]}]"#;
        let input = archive(&[
            ("repositories", br#"{"alpine":{}}"#),
            ("index.json", b"{}"),
            ("./oci-layout", b"{}"),
            (&long, b"blob"),
            ("./c.json", br#"{"config":{"Labels":{"a":"b"}}}"#),
            ("./manifest.json", mixed),
        ]);
        let out = filtered(&input).unwrap();
        assert_eq!(out[0], (long, "blob".into()));
        let table = r#"[{"Config":"c.json","RepoTags":["sandbox/a:1"],"Layers":[]}]"#;
        assert_eq!(out[2], ("manifest.json".into(), table.into()));
        assert_eq!(out.len(), 3);
    }

    #[test]
    fn gzip_is_accepted() {
        let mut zipped = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        zipped
            .write_all(&archive(&[
                ("manifest.json", MANIFEST_OF_A_SANDBOX),
                ("c.json", b"{}"),
            ]))
            .unwrap();
        assert_eq!(filtered(&zipped.finish().unwrap()).unwrap().len(), 2);
    }

    #[test]
    fn images_with_labels_of_edge_docker_are_refused() {
        let labelled = &format!(r#"{{"config":{{"Labels":{{"{}":"foo"}}}}}}"#, label::APP);
        let labelled = labelled.as_bytes();
        let other = br#"{"Config":{"labels":{"Edge.Signer":"k"}}}"#;
        let twice = [&labelled[..labelled.len() - 1], br#","config":{}}"#].concat();
        let large = [&b"{"[..], &vec![b' '; 5 << 20], b"}"].concat();
        let table = ("manifest.json", MANIFEST_OF_A_SANDBOX);
        let climbing = br#"[{"Config":"x/../c.json","RepoTags":["sandbox/a"],"Layers":[]}]"#;
        for files in [
            &[table, ("c.json", labelled)][..],
            &[("./c.json", other), table],
            &[table, ("c.json", &twice)],
            &[table, ("c.json", b"{}"), ("c.json", labelled)],
            &[table, ("c.json", b"{}"), ("c.json", &large)],
            &[table, ("c.json", b"{}"), ("c.json", b"{\"a\":1,\"a\":2}")],
            &[table, ("c.json", b"{}"), ("l/layer.tar/c.json", b"x")],
            &[table, ("c.json", &large)],
            &[table],
            &[("manifest.json", climbing), ("c.json", b"{}")],
        ] {
            assert!(filtered(&archive(files)).is_err());
        }
    }

    #[test]
    fn hostile_archives_are_refused() {
        let only = |text: &[u8]| archive(&[("manifest.json", text)]);
        let mut link = Builder::new(Vec::new());
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Symlink);
        header.set_size(0);
        link.append_link(&mut header, "manifest.json", "other")
            .unwrap();
        let mut truncated = archive(&[
            ("blob", &[7; 4000]),
            ("manifest.json", MANIFEST_OF_A_SANDBOX),
        ]);
        truncated.truncate(2000);
        for input in [
            Vec::new(),
            b"not a tar".to_vec(),
            archive(&[("a", b"")]),
            only(b"{}"),
            only(b"[]"),
            only(br#"[{"Config":"c","RepoTags":null}]"#),
            only(br#"[{"Config":"c","RepoTags":["alpine"]}]"#),
            only(br#"[{"Config":"c","RepoTags":["sandbox/../x"]}]"#),
            only(&vec![b'['; 100_000]),
            link.into_inner().unwrap(),
            truncated,
        ] {
            assert!(filtered(&input).is_err());
        }
    }
}
