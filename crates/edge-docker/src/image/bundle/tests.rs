//! Archives that are no bundles.

use tar::EntryType;

use super::*;

fn file(builder: &mut Builder<Vec<u8>>, name: &str, content: &[u8]) {
    let mut header = Header::new_ustar();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    builder.append_data(&mut header, name, content).unwrap();
}

fn index(blobs: &str) -> Vec<u8> {
    json!({ "manifests": [], "annotations": { "vnd.edge-ai.blobs": blobs } })
        .to_string()
        .into_bytes()
}

/// Returns a bundle of one blob, followed by what `add` writes.
fn bundle(add: impl FnOnce(&mut Builder<Vec<u8>>)) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    file(&mut builder, "oci-layout", b"{}");
    file(&mut builder, "index.json", &index("1"));
    file(&mut builder, &path(&Digest::of(b"blob")), b"blob");
    add(&mut builder);
    builder.into_inner().unwrap()
}

fn refused(bytes: &[u8]) -> String {
    let error = Bundle::open(bytes).err().unwrap();
    assert!(error.is::<Refusal>(), "{error:#}");
    format!("{error:#}")
}

/// Forwards the layers after the blobs.
fn forwarded(bytes: &[u8], layers: &[&[u8]], others: &[&[u8]]) -> Result<Vec<u8>> {
    let sizes = |list: &[&[u8]]| {
        list.iter()
            .map(|l| (Digest::of(l), l.len() as u64))
            .collect()
    };
    let wanted = Wanted {
        layers: sizes(layers),
        others: sizes(others),
        ..Wanted::default()
    };
    let mut out = Vec::new();
    wanted.forward(Bundle::open(bytes)?.archive, &mut out)?;
    Ok(out)
}

#[test]
fn layers_are_forwarded_once_and_only_if_they_are_named() {
    let with = |layers: &[&[u8]]| {
        bundle(|builder| {
            for layer in layers {
                file(builder, &path(&Digest::of(layer)), layer);
            }
        })
    };
    let out = forwarded(&with(&[b"one", b"two"]), &[b"one", b"absent"], &[b"two"]).unwrap();
    let mut archive = tar::Archive::new(&out[..]);
    let names = archive.entries().unwrap().map(|entry| {
        let entry = entry.unwrap();
        entry.path().unwrap().display().to_string()
    });
    assert_eq!(
        names.collect::<Vec<_>>(),
        [path(&Digest::of(b"one")), "manifest.json".into()]
    );
    for (layers, named) in [
        (&[&b"one"[..], b"one"][..], &[&b"one"[..]][..]),
        (&[b"one", b"foreign"], &[b"one"]),
        (&[b"foreign"], &[]),
    ] {
        let error = forwarded(&with(layers), named, &[]).unwrap_err();
        assert!(error.is::<Refusal>(), "{error:#}");
    }
    let other = bundle(|builder| file(builder, &path(&Digest::of(b"one")), b"two"));
    let error = forwarded(&other, &[b"one"], &[]).unwrap_err().to_string();
    assert!(error.contains("other content"), "{error}");
    let larger = bundle(|builder| file(builder, &path(&Digest::of(b"one")), b"one more"));
    assert!(forwarded(&larger, &[b"one"], &[]).is_err());
}

#[test]
fn every_truncation_is_an_error() {
    let layer = vec![7; 1000];
    let whole = bundle(|builder| file(builder, &path(&Digest::of(&layer)), &layer));
    assert!(forwarded(&whole, &[&layer], &[]).is_ok());
    for length in (0..whole.len()).step_by(37) {
        let error = forwarded(&whole[..length], &[&layer], &[]).unwrap_err();
        assert!(error.is::<Refusal>(), "{length}: {error:#}");
        assert!(
            format!("{error:#}").contains("truncated"),
            "{length}: {error:#}"
        );
    }
}

#[test]
fn entries_that_are_no_plain_files_are_refused() {
    for kind in [
        EntryType::Symlink,
        EntryType::Link,
        EntryType::Char,
        EntryType::Block,
        EntryType::Fifo,
        EntryType::Directory,
        EntryType::Continuous,
        EntryType::GNUSparse,
        EntryType::GNULongName,
        EntryType::XHeader,
        EntryType::XGlobalHeader,
    ] {
        let mut builder = Builder::new(Vec::new());
        let mut header = Header::new_gnu();
        header.set_entry_type(kind);
        header.set_path("oci-layout").unwrap();
        header.set_size(0);
        header.set_cksum();
        builder.append(&header, &b""[..]).unwrap();
        let error = refused(&builder.into_inner().unwrap());
        assert!(error.contains("not a regular file"), "{kind:?}: {error}");
    }
}

/// Returns an archive of files with any names.
fn of(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (name, content) in files {
        let mut header = Header::new_gnu();
        header.as_gnu_mut().unwrap().name[..name.len()].copy_from_slice(name.as_bytes());
        header.set_size(content.len() as u64);
        header.set_cksum();
        builder.append(&header, *content).unwrap();
    }
    builder.into_inner().unwrap()
}

#[test]
fn names_sizes_and_contents_are_those_of_a_layout() {
    let (layout, one, large) = (("oci-layout", &b"{}"[..]), index("1"), vec![0; 5 << 20]);
    let named = path(&Digest::of(b"blob"));
    let index_of = |bytes: &'static [u8]| of(&[layout, ("index.json", bytes)]);
    let blob = |name: &str, bytes: &[u8]| of(&[layout, ("index.json", &one), (name, bytes)]);
    for (bytes, why) in [
        (Vec::new(), "truncated"),
        (b"text".repeat(400), "not an archive"),
        (of(&[]), "not in its place"),
        (
            of(&[("index.json", &one)]),
            "oci-layout is not in its place",
        ),
        (
            of(&[layout, (&named, b"blob")]),
            "index.json is not in its place",
        ),
        (of(&[("oci-layout", &[b' '; 2000])]), "at most 1024"),
        (of(&[layout, ("index.json", &large)]), "at most"),
        (index_of(b"{"), "index.json"),
        (
            index_of(br#"{"manifests":[],"annotations":{"vnd.edge-ai.blobs":"9999999"}}"#),
            "number of blobs",
        ),
        (of(&[layout, ("index.json", &one)]), "incomplete"),
        (blob("../../etc/passwd", b"x"), "is not a blob"),
        (blob("/etc/passwd", b"x"), "is not a blob"),
        (blob("blobs/sha256/../x", b"x"), "is not a blob"),
        (blob("blobs/\n", b"x"), "name that no bundle has"),
        (blob(&named, b"other"), "other content"),
        (blob(&named, &large), "at most"),
        (
            of(&[
                layout,
                ("index.json", &index("2")),
                (&named, b"blob"),
                (&named, b"blob"),
            ]),
            "twice",
        ),
    ] {
        let error = refused(&bytes);
        assert!(error.contains(why), "{why}: {error}");
    }
}

#[test]
fn impossible_sizes_and_sums_are_refused() {
    // A size that would be added to a position.
    let mut header = Header::new_gnu();
    header.set_path("oci-layout").unwrap();
    header.set_size(u64::MAX);
    header.set_cksum();
    let error = refused(header.as_bytes());
    assert!(
        error.contains("size") || error.contains("at most"),
        "{error}"
    );
    let mut changed = bundle(|_| ());
    changed[0] ^= 1;
    assert!(refused(&changed).contains("not an archive"));
}
