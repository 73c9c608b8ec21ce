//! Form of a release set: what is read is what is written again, and nothing else.

use edge_signature::Digest;
use edge_signature::set::{ReleaseSet, Requires, SetApp};

/// Returns the lines of a corpus without comments, its placeholders replaced.
fn lines(text: &'static str) -> impl Iterator<Item = String> {
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| {
        let mut parts = line.split('%');
        let mut text = parts.next().unwrap().to_string();
        for part in parts {
            let digit = &part[..1];
            text += &format!("sha256:{}{}", digit.repeat(64), &part[1..]);
        }
        text.replace("\\t", "\t").replace("\\0", "\0")
    })
}

#[test]
fn ordinary_sets_are_read_and_written_again() {
    let mut count = 0;
    for text in lines(include_str!("ordinary.txt")) {
        let set = ReleaseSet::parse(text.as_bytes()).unwrap_or_else(|e| panic!("{e}: {text}"));
        assert_eq!(String::from_utf8(set.to_bytes().unwrap()).unwrap(), text);
        assert_eq!(set.ordered().len(), set.apps.len());
        count += 1;
    }
    assert!(count >= 30, "{count}");
}

#[test]
fn hostile_sets_are_refused_with_the_reason() {
    let mut count = 0;
    for line in lines(include_str!("hostile.txt")) {
        let (reason, text) = line.split_once('\t').unwrap();
        let error = ReleaseSet::parse(text.as_bytes())
            .expect_err(text)
            .to_string();
        assert!(error.contains(reason), "{error}\nnot {reason:?}: {text}");
        assert!(error.starts_with("release set: "), "{error}");
        count += 1;
    }
    assert!(count >= 80, "{count}");
}

fn app(name: &str) -> SetApp {
    SetApp {
        digest: Digest::of(name.as_bytes()),
        name: name.into(),
        run: Digest::of(b"run"),
        serial: 1,
        timeout: None,
        version: "v1".into(),
    }
}

#[test]
fn every_truncation_and_every_other_byte_is_refused_or_another_set() {
    let mut set = ReleaseSet::new("barn", 7, 1_798_761_600, &["edge-ai-*"]);
    set.apps = vec![app("hello"), app("mqtt")];
    set.order = vec!["mqtt".into()];
    set.requires.image = Some("2026.11".into());
    let bytes = set.to_bytes().unwrap();
    for end in 0..bytes.len() {
        assert!(ReleaseSet::parse(&bytes[..end]).is_err(), "{end}");
    }
    for at in 0..bytes.len() {
        for byte in [0, b' ', b'"', b'0', b'}', b'\\', 0xff, bytes[at] ^ 1] {
            let mut changed = bytes.clone();
            changed[at] = byte;
            if let Ok(other) = ReleaseSet::parse(&changed) {
                assert_eq!(other.to_bytes().unwrap(), changed);
                assert_eq!(other == set, changed == bytes, "byte {at}");
            }
        }
    }
}

#[test]
fn counts_and_sizes_are_limited() {
    let mut set = ReleaseSet::new("barn", 7, 1_798_761_600, &["*"]);
    set.apps = (0..64).map(|n| app(&format!("a{n:02}"))).collect();
    assert!(ReleaseSet::parse(&set.to_bytes().unwrap()).is_ok());
    set.apps.push(app("b"));
    assert!(set.to_bytes().unwrap_err().to_string().contains("65"));
    set.apps = vec![app("a")];
    set.things = (0..1025).map(|n| format!("thing-{n:04}")).collect();
    assert!(set.to_bytes().unwrap_err().to_string().contains("1025"));
    set.things.truncate(1024);
    assert!(set.to_bytes().is_ok());
    set.revoked = (0..1025_u32)
        .map(|n| Digest::of(&n.to_le_bytes()))
        .collect();
    set.revoked.sort();
    assert!(set.to_bytes().unwrap_err().to_string().contains("1025"));
    set.revoked.truncate(1024);
    assert!(set.to_bytes().is_ok());
    set.things = (0..1024)
        .map(|n| format!("{n:04}{}", "x".repeat(124)))
        .collect();
    set.restored = (0..1024_u32)
        .map(|n| Digest::of(&n.to_be_bytes()))
        .collect();
    set.restored.retain(|d| !set.revoked.contains(d));
    set.restored.sort();
    let error = set.to_bytes().unwrap_err().to_string();
    assert!(error.contains("more than 262144"), "{error}");
    for text in [
        "[".repeat(100_000),
        "{\"apps\":".repeat(30_000),
        " ".repeat(300_000),
    ] {
        assert!(ReleaseSet::parse(text.as_bytes()).is_err(), "{text:.30}");
    }
    assert!(ReleaseSet::parse(&[0xff; 64]).is_err());
}

#[test]
fn the_order_begins_with_what_is_named() {
    let mut set = ReleaseSet::new("barn", 7, 0, &["*"]);
    set.apps = vec![app("a"), app("b"), app("c")];
    set.order = vec!["c".into()];
    let names: Vec<_> = set.ordered().iter().map(|app| app.name.clone()).collect();
    assert_eq!(names, ["c", "a", "b"]);
    assert_eq!(set.tag(), "set.barn.7");
}

#[test]
fn a_condition_that_is_not_met_is_named() {
    let all = Requires {
        arch: Some("arm64".into()),
        disk_mb: Some(900),
        image: Some("2026.11".into()),
    };
    for (arch, free, image, unmet) in [
        ("arm64", 900_000_000, "2026.11", None),
        ("arm64", u64::MAX, "2026.11.1", None),
        ("arm64", 900_000_000, "2027.1-rc1", None),
        ("amd64", 900_000_000, "2026.11", Some("for arm64")),
        ("arm64", 899_999_999, "2026.11", Some("900 MB")),
        ("arm64", 900_000_000, "2026.9", Some("2026.9")),
        ("arm64", 900_000_000, "2026.11-rc1", None),
        ("arm64", 900_000_000, "", Some("device image 2026.11")),
        ("arm64", 900_000_000, "dev", Some("dev")),
    ] {
        let found = all.unmet(arch, free, image);
        match unmet {
            None => assert_eq!(found, None, "{image}"),
            Some(part) => assert!(found.clone().unwrap().contains(part), "{found:?}"),
        }
    }
    assert_eq!(Requires::default().unmet("x", 0, ""), None);
}
