//! SSH sessions and the keys that opened them.
//!
//! sshd calls `edge-docker note-ssh-key` as root for each key that a client offers
//! (`AuthorizedKeysCommand`), last for the key whose signature it then verifies. The
//! note names the process of sshd that stays until the end of the session and is an
//! ancestor of all that the user starts. sshd's own file on the session
//! (`ExposeAuthInfo`) belongs to the user, who can change it, and the journal can be
//! filled until it has lost the line.

use std::fs;

use anyhow::{Context, Result};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use edge_common::log::printable;
use edge_common::{Root, file};
use serde::{Deserialize, Serialize};

use super::processes::{Process, control_group};

/// Directory of the notes, accessible to root only.
const DIRECTORY: &str = "/run/edge-docker/sessions";
/// Size limit of a note in bytes.
const MAX_NOTE_BYTES: u64 = 4096;
/// Number of notes from which on those of ended sessions are removed.
const MAX_NOTES: usize = 64;
/// Names of sshd's program; from OpenSSH 9.8 on a session has a program of its own.
const SSHD: [&str; 3] = ["sshd", "sshd-session", "sshd-auth"];
/// Limit of a fingerprint or of the ID of a certificate, in bytes.
const MAX_NAME_BYTES: usize = 128;

/// Key that opened a session.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Key {
    /// Fingerprint, `SHA256:…`.
    pub(super) key: String,
    /// ID and serial number of the certificate, if the key is one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub(super) certificate: String,
}

#[derive(Serialize, Deserialize)]
struct Note {
    v: u32,
    #[serde(flatten)]
    key: Key,
    group: String,
}

/// Returns the process of sshd that called this program, `None` if the caller is another
/// one.
pub(crate) fn sshd(root: &Root) -> Option<Process> {
    let parent = rustix::process::getppid()?.as_raw_nonzero().get();
    let parent = Process::find(root, parent.unsigned_abs())?;
    let is_typed = std::env::var_os("SUDO_USER").is_some();
    (is_sshd(root, parent.id) && !is_typed).then_some(parent)
}

/// Notes the key that a client offers for this process of sshd: its fingerprint, and the
/// key itself in base64.
pub(crate) fn note(root: &Root, sshd: &Process, fingerprint: &str, key: &str) -> Result<()> {
    let note = Note {
        v: 1,
        key: Key {
            key: super::shortened(&printable(fingerprint), MAX_NAME_BYTES),
            certificate: certificate(key).unwrap_or_default(),
        },
        group: control_group(root, &sshd.id.to_string()),
    };
    let directory = root.path(DIRECTORY);
    file::create_directory(&directory, 0o700)?;
    remove_ended(root);
    let text = serde_json::to_vec(&note).context("writing the note on the session")?;
    file::write(&directory.join(name(sshd)), &text, 0o600)
}

fn is_sshd(root: &Root, id: u32) -> bool {
    let program = fs::read_link(root.path(format!("/proc/{id}/exe"))).unwrap_or_default();
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    // The name of a program that was updated since it started.
    SSHD.contains(&name.trim_end_matches(" (deleted)"))
}

/// Returns the keys that may have opened the session of this process: the key of the
/// session if sshd is an ancestor. A process that was detached from its session has lost
/// its ancestors; then all keys of sessions that share its control group.
pub(super) fn keys(root: &Root) -> Vec<Key> {
    let ancestry = Process::ancestry(root);
    if let Some(note) = ancestry.iter().find_map(|process| read(root, process)) {
        return vec![note.key];
    }
    let group = control_group(root, "self");
    let mut keys = Vec::new();
    for process in noted(root) {
        let note = read(root, &process).filter(|note| note.group == group);
        keys.extend(note.map(|n| n.key).filter(|key| !keys.contains(key)));
    }
    keys
}

fn name(process: &Process) -> String {
    format!("{}-{}", process.id, process.started)
}

fn read(root: &Root, process: &Process) -> Option<Note> {
    let path = root.path(DIRECTORY).join(name(process));
    serde_json::from_slice(&file::read(&path, MAX_NOTE_BYTES).ok()?).ok()
}

/// Returns the processes with a note that still exist.
fn noted(root: &Root) -> Vec<Process> {
    let entries = fs::read_dir(root.path(DIRECTORY)).into_iter().flatten();
    let names = entries.flatten().map(|entry| entry.file_name());
    let processes = names.filter_map(|found| {
        let found = found.into_string().ok()?;
        let (id, _) = found.split_once('-')?;
        Process::find(root, id.parse().ok()?).filter(|p| name(p) == found)
    });
    processes.collect()
}

/// Removes notes of processes that have ended, once there are many.
fn remove_ended(root: &Root) {
    let entries = || {
        fs::read_dir(root.path(DIRECTORY))
            .into_iter()
            .flatten()
            .flatten()
    };
    if entries().count() < MAX_NOTES {
        return;
    }
    let living: Vec<_> = noted(root).iter().map(name).collect();
    for entry in entries() {
        if !living.iter().any(|name| entry.file_name() == name.as_str()) {
            // Another call may have removed it.
            let _ = fs::remove_file(entry.path());
        }
    }
}

/// Returns ID and serial number of an SSH certificate in base64, `None` for a plain
/// key. See <https://cvsweb.openbsd.org/src/usr.bin/ssh/PROTOCOL.certkeys>.
fn certificate(key: &str) -> Option<String> {
    let blob = STANDARD.decode(key).ok()?;
    let (kind, rest) = string(&blob)?;
    let kind = std::str::from_utf8(kind).ok()?;
    let kind = kind.strip_suffix("-cert-v01@openssh.com")?;
    // The nonce, then the parts of the public key, whose number depends on its type.
    let parts = match kind {
        "ssh-ed25519" => 1,
        "ssh-rsa" | "sk-ssh-ed25519" => 2,
        _ if kind.starts_with("sk-") => 3,
        _ if kind.starts_with("ecdsa-") => 2,
        _ => return None,
    };
    let mut rest = rest;
    for _ in 0..=parts {
        (_, rest) = string(rest)?;
    }
    let (serial, rest) = rest.split_first_chunk::<8>()?;
    let (id, _) = string(rest.get(4..)?)?;
    let id = printable(&String::from_utf8_lossy(id));
    let id = super::shortened(&id, MAX_NAME_BYTES);
    Some(format!("{id} serial {}", u64::from_be_bytes(*serial)))
}

/// Splits a string with a length of four bytes from the front of `bytes`.
fn string(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blob(parts: &[&[u8]], serial: u64, id: &[u8]) -> String {
        let with_length = |part: &[u8]| {
            let length = u32::try_from(part.len()).unwrap().to_be_bytes();
            [&length[..], part].concat()
        };
        let mut bytes: Vec<u8> = parts.iter().flat_map(|p| with_length(p)).collect();
        bytes.extend(serial.to_be_bytes());
        bytes.extend(1u32.to_be_bytes());
        bytes.extend(with_length(id));
        STANDARD.encode(bytes)
    }

    #[test]
    fn a_certificate_has_an_id_and_a_key_has_none() {
        let ed25519 = &b"ssh-ed25519-cert-v01@openssh.com"[..];
        let found = certificate(&blob(&[ed25519, b"nonce", b"key"], 7, b"anna\n@laptop"));
        assert_eq!(found.as_deref(), Some("anna @laptop serial 7"));
        let ecdsa = &b"ecdsa-sha2-nistp256-cert-v01@openssh.com"[..];
        let found = certificate(&blob(&[ecdsa, b"n", b"curve", b"key"], 1, b"x"));
        assert_eq!(found.as_deref(), Some("x serial 1"));
        for other in ["", "AAAA", "%", &blob(&[b"ssh-ed25519", b"key"], 0, b"")] {
            assert_eq!(certificate(other), None);
        }
    }
}
