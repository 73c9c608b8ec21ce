//! Context of a build: a tar archive on standard input, in which the Dockerfile is judged
//! and replaced while it is forwarded to the engine.

use std::collections::BTreeSet;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use edge_docker_policy::dockerfile::MAX_BYTES;
use edge_docker_policy::mounts::relative_parts;
use edge_docker_policy::refusal::refuse;
use tar::{Archive, Builder, Entry, EntryType, Header};

const READING: &str = "reading the context";
/// Size of the buffer before the upload, in bytes.
const BUFFER_BYTES: usize = 1 << 16;

/// Copies the context from `input` to `out`. Each entry with one of the names in
/// `dockerfiles` is replaced by what `judge` returns for its content. Fails if there is
/// no such entry, before the engine has the whole context.
pub(super) fn copy(
    input: &mut dyn Read,
    out: &mut dyn Write,
    dockerfiles: &[&Path],
    judge: impl Fn(&[u8]) -> Result<String>,
) -> Result<()> {
    let mut archive = Archive::new(input);
    let mut builder = Builder::new(io::BufWriter::with_capacity(BUFFER_BYTES, out));
    let mut is_judged = false;
    let mut links: BTreeSet<PathBuf> = BTreeSet::new();
    for entry in archive.entries().context(READING)? {
        let mut entry = entry.map_err(|e| refuse(format_args!("build: not an archive: {e}")))?;
        let path = relative_path(&entry.path().context(READING)?)?;
        if path.as_os_str().is_empty() {
            continue;
        }
        // Through a link, an entry could overwrite the Dockerfile under another name.
        if path
            .ancestors()
            .skip(1)
            .any(|parent| links.contains(parent))
        {
            return Err(refuse(format_args!("build: {path:?} is behind a link")));
        }
        if entry.header().entry_type().is_symlink() {
            links.insert(path.clone());
        }
        let is_file = entry.header().entry_type().is_file();
        if dockerfiles.contains(&path.as_path()) {
            if !is_file {
                return Err(refuse(format_args!("build: {path:?} is not a file")));
            }
            let text = judge(&content(&mut entry)?)?;
            let mut header = header_of(&entry)?;
            header.set_size(text.len() as u64);
            builder.append_data(&mut header, &path, text.as_bytes())?;
            is_judged = true;
            continue;
        }
        // A link at a directory of the Dockerfile would lead the engine to another one.
        let leads = |dockerfile: &&Path| dockerfile.starts_with(&path);
        if !entry.header().entry_type().is_dir() && dockerfiles.iter().any(leads) {
            return Err(refuse(format_args!("build: {path:?} is not a directory")));
        }
        forward(&mut entry, &path, &mut builder)?;
    }
    if !is_judged {
        return Err(refuse(format_args!(
            "build: the context has no {}",
            dockerfiles
                .first()
                .unwrap_or(&Path::new("Dockerfile"))
                .display()
        )));
    }
    let mut out = builder.into_inner().context("sending the context")?;
    out.flush().context("sending the context")
}

fn content<R: Read>(entry: &mut Entry<'_, R>) -> Result<Vec<u8>> {
    let mut text = Vec::new();
    // One byte more than is accepted, so that a larger file is not cut.
    let limit = MAX_BYTES as u64 + 1;
    entry.take(limit).read_to_end(&mut text).context(READING)?;
    Ok(text)
}

/// Appends an entry of the context with a header of edge-docker's own.
fn forward<R: Read, W: Write>(
    entry: &mut Entry<'_, R>,
    path: &Path,
    builder: &mut Builder<W>,
) -> Result<()> {
    let kind = entry.header().entry_type();
    let mut header = header_of(entry)?;
    match kind {
        EntryType::Symlink | EntryType::Link => {
            let target = entry.link_name().context(READING)?.unwrap_or_default();
            header.set_size(0);
            builder.append_link(&mut header, path, &target)?;
        }
        EntryType::Directory => {
            header.set_size(0);
            builder.append_data(&mut header, path, io::empty())?;
        }
        kind if kind.is_file() => {
            header.set_size(entry.size());
            builder.append_data(&mut header, path, entry)?;
        }
        _ => {
            return Err(refuse(format_args!(
                "build: {path:?} is neither file, directory nor link"
            )));
        }
    }
    Ok(())
}

/// Returns a new header with the type, mode and time of an entry, owned by root, as
/// docker's client sends files. The engine's parser could read other fields differently.
fn header_of<R: Read>(entry: &Entry<'_, R>) -> Result<Header> {
    let old = entry.header();
    let mut header = Header::new_gnu();
    let kind = match old.entry_type() {
        kind if kind.is_file() => EntryType::Regular,
        kind => kind,
    };
    header.set_entry_type(kind);
    header.set_mode(old.mode().context(READING)? & 0o7777);
    header.set_mtime(old.mtime().context(READING)?);
    header.set_uid(0);
    header.set_gid(0);
    Ok(header)
}

/// Returns `path` without its `.` components; refuses a path that leads out of the
/// context.
fn relative_path(path: &Path) -> Result<PathBuf> {
    let parts = relative_parts(path);
    let parts = parts.ok_or_else(|| refuse(format_args!("build: path {path:?} is refused")))?;
    Ok(parts.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    type File<'a> = (&'a str, EntryType, &'a str);

    fn archive(files: &[File<'_>]) -> Vec<u8> {
        let mut builder = Builder::new(Vec::new());
        for (name, kind, content) in files {
            let mut header = Header::new_gnu();
            header.set_entry_type(*kind);
            header.set_mode(0o755);
            header.set_mtime(1);
            if kind.is_symlink() || kind.is_hard_link() {
                header.set_size(0);
                builder.append_link(&mut header, name, content).unwrap();
            } else {
                header.set_size(content.len() as u64);
                builder
                    .append_data(&mut header, name, content.as_bytes())
                    .unwrap();
            }
        }
        builder.into_inner().unwrap()
    }

    fn copied(files: &[File<'_>], dockerfiles: &[&str]) -> Result<Vec<(String, String)>> {
        let mut out = Vec::new();
        let paths: Vec<_> = dockerfiles.iter().map(Path::new).collect();
        let judge = |text: &[u8]| match text {
            b"bad" => Err(refuse("bad")),
            text => Ok(format!("judged {}", String::from_utf8_lossy(text))),
        };
        copy(&mut &archive(files)[..], &mut out, &paths, judge)?;
        let mut archive = Archive::new(&out[..]);
        let entries = archive.entries()?.map(|entry| {
            let mut entry = entry?;
            let mut text = String::new();
            entry.read_to_string(&mut text)?;
            Ok((entry.path()?.to_string_lossy().into_owned(), text))
        });
        entries.collect()
    }

    #[test]
    fn the_dockerfile_is_replaced_and_all_else_forwarded() {
        let (file, link) = (EntryType::Regular, EntryType::Symlink);
        let long = format!("a/{}", "x".repeat(200));
        let files = [
            ("./a/", EntryType::Directory, ""),
            (&long[..], file, "long"),
            ("b", link, "a"),
            ("./Dockerfile", file, "FROM x"),
        ];
        let out = copied(&files, &["Dockerfile", "dockerfile"]).unwrap();
        assert_eq!(out.last().unwrap().1, "judged FROM x");
        assert_eq!(out[1], (long.clone(), "long".into()));
        assert_eq!(out.len(), 4);
    }

    #[test]
    fn a_dockerfile_that_is_not_judged_is_refused() {
        let (file, link) = (EntryType::Regular, EntryType::Symlink);
        let cases: [(&[File<'_>], &str); 9] = [
            (
                &[
                    ("Dockerfile", file, "x"),
                    ("d", link, "."),
                    ("d/Dockerfile", file, "y"),
                ],
                "Dockerfile",
            ),
            (&[("a", file, "x")], "Dockerfile"),
            (&[("Dockerfile", link, "a")], "Dockerfile"),
            (&[("Dockerfile", EntryType::Link, "a")], "Dockerfile"),
            (
                &[("d/Dockerfile", file, "x"), ("d", link, "e")],
                "d/Dockerfile",
            ),
            (&[("d", file, "x")], "d/Dockerfile"),
            (
                &[("Dockerfile", file, "x"), ("Dockerfile", file, "bad")],
                "Dockerfile",
            ),
            (
                &[("Dockerfile", file, "x"), ("dev", EntryType::Block, "")],
                "Dockerfile",
            ),
            (
                &[("Dockerfile", file, "x"), ("fifo", EntryType::Fifo, "")],
                "Dockerfile",
            ),
        ];
        for (files, name) in cases {
            assert!(copied(files, &[name]).is_err(), "{files:?}");
        }
    }
}
