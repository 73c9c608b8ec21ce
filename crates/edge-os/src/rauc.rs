//! RAUC, which writes and verifies a slot: its trust anchors, and its command line.
//!
//! Its configuration, `/etc/rauc/system.conf`, is part of the image. The anchors are the
//! keys that sign OS images, as certificates, which are derived each time: no second file
//! in the image can differ from them.

use std::ffi::OsStr;
use std::fs::File;
use std::path::Path;
use std::process::{Output, Stdio};

use anyhow::{Context, Result};
use edge_common::contract::path::{CA, OS_KEYRING, OS_RAUC_DATA};
use edge_common::exit::Failure;
use edge_common::identity::DeviceConfig;
use edge_common::identity::MAX_FILE_BYTES;
use edge_common::{Root, file};
use edge_signature::{Keys, keyring};

use crate::exit_code::BUNDLE;
use crate::slot::Slot;

/// CA certificates of the device image in one file, which is what RAUC takes.
const TLS_ANCHORS: &str = "/run/edge-os/tls.pem";
/// Program that writes and verifies a slot.
const RAUC: &str = "/usr/bin/rauc";

/// Writes a bundle to the slot that does not run. RAUC holds `lock`, too, as its standard
/// input: if edge-os is killed, RAUC goes on, and a second one must not write beside it.
///
/// # Errors
/// RAUC refuses the bundle, or the slot cannot be written.
pub(crate) fn write(
    root: &Root,
    lock: &File,
    running: Slot,
    keys: &Keys,
    manifest_hash: &str,
    bundle: &OsStr,
) -> Result<()> {
    let anchors = root.path(OS_KEYRING);
    file::create_directory(anchors.parent().unwrap_or(Path::new("/")), 0o755)?;
    file::write(&anchors, &keyring(keys)?, 0o644)?;
    file::create_directory(&root.path(OS_RAUC_DATA), 0o755)?;
    let mut rauc = root.command(RAUC);
    rauc.arg("install")
        // The kernel's command line does not name the slot.
        .arg(format!("--override-boot-slot={running}"))
        .arg(format!("--require-manifest-hash={manifest_hash}"))
        .arg(bundle)
        .stdin(Stdio::from(lock.try_clone().context("sharing the lock")?));
    if let Some(proxy) = DeviceConfig::load(root).ok().and_then(|c| c.proxy) {
        rauc.env("https_proxy", proxy);
    }
    if bundle.as_encoded_bytes().starts_with(b"https://") {
        file::write(&root.path(TLS_ANCHORS), &ca_certificates(root)?, 0o644)?;
        rauc.arg(format!("--tls-ca={}", root.path(TLS_ANCHORS).display()));
    }
    let output = rauc.output().with_context(|| format!("running {RAUC}"))?;
    if output.status.success() {
        return Ok(());
    }
    let last = without_secrets(&reason(&output).unwrap_or("no message".into()));
    Err(Failure::error(
        BUNDLE,
        format_args!("{RAUC}: {}: {last}", output.status),
    ))
}

/// Returns the CA certificates of the device image.
fn ca_certificates(root: &Root) -> Result<Vec<u8>> {
    let directory = root.path(CA);
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(&directory).with_context(|| format!("reading {CA}"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|e| e == "pem") {
            paths.push(path);
        }
    }
    paths.sort();
    let mut text = Vec::new();
    for path in paths {
        text.extend(file::read(&path, MAX_FILE_BYTES)?);
        text.push(b'\n');
    }
    Ok(text)
}

/// Returns the reason why RAUC ended, which it prints before `finished` and after its
/// progress; the last line of standard error says less.
fn reason(output: &Output) -> Option<String> {
    let is_progress = |line: &str| {
        let number = line.split_once('%').map(|(number, _)| number.trim());
        number.is_some_and(|n| n.parse::<u8>().is_ok())
    };
    let last = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes);
        let mut lines = text.lines().rev().map(str::trim);
        let found = lines.find(|l| !l.is_empty() && *l != "finished" && !is_progress(l));
        found.map(String::from)
    };
    last(&output.stdout).or_else(|| last(&output.stderr))
}

/// Removes the queries of addresses, with which anybody could read the registry for a
/// while: the message goes to logs and reports.
fn without_secrets(text: &str) -> String {
    let word = |word: &str| match word.split_once('?') {
        Some((address, _)) if address.contains("://") => format!("{address}?..."),
        _ => word.to_string(),
    };
    text.split(' ').map(word).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_presigned_address_is_no_part_of_a_message() {
        for (text, expected) in [
            (
                "reading https://h/b?X-Amz-Signature=1: 403",
                "reading https://h/b?...",
            ),
            ("what? nothing", "what? nothing"),
        ] {
            let shown = without_secrets(text);
            assert!(shown.starts_with(expected), "{shown}");
            assert!(!shown.contains("Signature"), "{shown}");
        }
    }
}
