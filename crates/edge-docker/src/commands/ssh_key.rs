//! `note-ssh-key`, the `AuthorizedKeysCommand` of sshd: notes the key that a client
//! offers, and prints the keys that may log in.
//!
//! sshd looks into `AuthorizedKeysFile` first and calls no command for a key that it
//! finds there, so that this program prints the file in its place.

use std::fs::File;
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;

use anyhow::{Context, Result, bail};
use edge_common::{Root, log};
use edge_docker_policy::refusal::refuse;
use rustix::fs::{Mode, OFlags, openat};

use crate::ledger::sessions;

/// Size limit of a file of authorized keys, in bytes.
const MAX_FILE_BYTES: u64 = 1024 * 1024;
/// Directory and file of the keys, below the home directory.
const PLACES: [(&str, OFlags); 2] = [
    (".ssh", OFlags::DIRECTORY),
    ("authorized_keys", OFlags::NONBLOCK),
];

/// Carries out `note-ssh-key FINGERPRINT KEY HOME UID`.
pub(super) fn run(root: &Root, args: &[&str]) -> Result<()> {
    let [fingerprint, key, home, uid] = args else {
        return Err(refuse(
            "note-ssh-key takes FINGERPRINT, KEY, HOME and UID, from sshd",
        ));
    };
    let uid = uid.parse().map_err(|_| refuse("UID is not a number"))?;
    let sshd = sessions::sshd(root)
        .ok_or_else(|| refuse("note-ssh-key is refused: only sshd calls it"))?;
    // Without the note the ledger names the user alone. Without the keys nobody could log
    // in, not even to free the space that the note lacked.
    if let Err(error) = sessions::note(root, &sshd, fingerprint, key) {
        log::warn(format_args!("noting the key of the session: {error:#}"));
    }
    let keys = authorized_keys(root, home, uid)?;
    std::io::stdout()
        .write_all(&keys)
        .context("printing the authorized keys")
}

/// Returns the authorized keys of the user with this home directory and UID, none if the
/// file is absent. As with `StrictModes`, others than root and the user must not be able
/// to change the file.
fn authorized_keys(root: &Root, home: &str, uid: u32) -> Result<Vec<u8>> {
    let mut path = root.path(home);
    let mut file = match File::open(&path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        opened => opened.with_context(|| format!("opening {}", path.display()))?,
    };
    require_owner(&file, uid).with_context(|| format!("checking {}", path.display()))?;
    for (name, flags) in PLACES {
        path.push(name);
        let flags = flags | OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        file = match openat(&file, name, flags, Mode::empty()) {
            Err(rustix::io::Errno::NOENT) => return Ok(Vec::new()),
            opened => opened
                .with_context(|| format!("opening {}", path.display()))?
                .into(),
        };
        require_owner(&file, uid).with_context(|| format!("checking {}", path.display()))?;
    }
    if !file.metadata()?.is_file() {
        bail!("{} is not a regular file", path.display());
    }
    let mut keys = Vec::new();
    let context = || format!("reading {}", path.display());
    let count = file.take(MAX_FILE_BYTES + 1).read_to_end(&mut keys);
    if count.with_context(context)? as u64 > MAX_FILE_BYTES {
        bail!("{} is larger than {MAX_FILE_BYTES} bytes", path.display());
    }
    Ok(keys)
}

fn require_owner(file: &File, uid: u32) -> Result<()> {
    let state = file.metadata()?;
    if state.uid() != uid && state.uid() != 0 {
        bail!("it belongs to UID {}: use chown", state.uid());
    }
    if state.mode() & 0o022 != 0 {
        bail!("others can write to it: use chmod go-w");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    const KEYS: &str = "ssh-ed25519 AAAA anna\n";

    struct Home(tempfile::TempDir);

    impl Home {
        fn new() -> Self {
            let home = Self(tempfile::tempdir().unwrap());
            let ssh = home.0.path().join("home/.ssh");
            fs::create_dir_all(&ssh).unwrap();
            edge_common::file::write(&ssh.join("authorized_keys"), KEYS.as_bytes(), 0o600).unwrap();
            home
        }

        fn path(&self, name: &str) -> std::path::PathBuf {
            self.0.path().join(name)
        }

        fn keys(&self) -> Result<String> {
            let uid = fs::metadata(self.0.path()).unwrap().uid();
            let keys = authorized_keys(&Root::at(self.0.path()), "/home", uid)?;
            Ok(String::from_utf8(keys).unwrap())
        }
    }

    #[test]
    fn the_file_is_returned_or_absent() {
        let home = Home::new();
        assert_eq!(home.keys().unwrap(), KEYS);
        for absent in ["home/.ssh/authorized_keys", "home/.ssh", "home"] {
            fs::rename(home.path(absent), home.path("aside")).unwrap();
            assert_eq!(home.keys().unwrap(), "", "{absent}");
            fs::rename(home.path("aside"), home.path(absent)).unwrap();
        }
        assert_eq!(home.keys().unwrap(), KEYS);
    }

    #[test]
    fn what_others_can_write_is_an_error() {
        for name in ["home/.ssh/authorized_keys", "home/.ssh", "home"] {
            for mode in [0o720, 0o702] {
                let home = Home::new();
                fs::set_permissions(home.path(name), Permissions::from_mode(mode)).unwrap();
                let error = format!("{:#}", home.keys().unwrap_err());
                assert!(error.contains("others can write"), "{name}: {error}");
            }
        }
        if rustix::process::getuid().is_root() {
            let home = Home::new();
            let file = home.path("home/.ssh/authorized_keys");
            std::os::unix::fs::chown(&file, Some(1234), None).unwrap();
            assert!(home.keys().is_err());
            let root = Root::at(home.0.path());
            assert!(authorized_keys(&root, "/home", 1234).is_ok());
        }
    }

    #[test]
    fn links_and_other_kinds_are_errors() {
        for name in ["home/.ssh/authorized_keys", "home/.ssh"] {
            let home = Home::new();
            fs::rename(home.path(name), home.path("aside")).unwrap();
            symlink(home.path("aside"), home.path(name)).unwrap();
            assert!(home.keys().is_err(), "{name}");
        }
        let home = Home::new();
        let file = home.path("home/.ssh/authorized_keys");
        fs::remove_file(&file).unwrap();
        rustix::fs::mkfifoat(rustix::fs::CWD, &file, Mode::from_raw_mode(0o600)).unwrap();
        assert!(home.keys().is_err());
        fs::remove_file(&file).unwrap();
        let large = vec![b'#'; usize::try_from(MAX_FILE_BYTES).unwrap() + 1];
        edge_common::file::write(&file, &large, 0o600).unwrap();
        assert!(home.keys().is_err());
    }
}
