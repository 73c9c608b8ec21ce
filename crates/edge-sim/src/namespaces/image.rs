//! Files of a booted device that has everything of the image: those of the test VM, less
//! the disk, which a container does not have.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown, symlink};
use std::path::Path;

use anyhow::{Context, Result};
use edge_common::file;

use super::booted::{self, Booted, DATA_MOUNT, LIMITS, Settings, UNITS, UNNEEDED};
use crate::host::program;
use crate::vm::base;
use crate::vm::contents::{Contents, Endpoints};
use crate::vm::entry::{Entry, Kind};

/// Unit that prepares a disk.
const PARTITION: &str = "edge-partition-setup.service";
/// Name server of the device, instead of that of this machine.
const RESOLVER: &str = "/etc/resolv.conf";

/// Settings of a device with everything of the image.
pub struct Image<'a> {
    /// Directory of the strict endpoint's state, with the claim.
    pub cloud: &'a Path,
    /// Serial number, 32 hexadecimal digits.
    pub serial: &'a str,
    /// SSH public key that may log in as the users edge and root.
    pub public_key: &'a str,
    /// Network namespace of the device.
    pub network: &'a Path,
    /// Content of `/etc/resolv.conf`.
    pub resolver: &'a str,
}

impl Booted {
    /// Boots a device with all programs, units and settings of the image, as the test VM
    /// has them. `directory` must be empty, and not on an overlay.
    ///
    /// # Errors
    /// As [`Booted::start`].
    pub fn image(directory: &Path, image: &Image) -> Result<Self> {
        booted::prepare(directory)?;
        write(&directory.join("files"), image)?;
        let mut network = OsString::from("--network-namespace-path=");
        network.push(image.network);
        Self::of(directory, Settings::with(network))
    }
}

/// Writes the files below `root`, the upper layer of the device's root file system.
fn write(root: &Path, image: &Image) -> Result<()> {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let programs = program("edge-docker")?;
    let contents = Contents {
        source: &source,
        programs: programs.parent().context("a directory of programs")?,
        cloud: &Endpoints::strict(image.cloud),
        serial: image.serial,
        public_key: image.public_key,
    };
    file::create_directory(root, 0o755)?;
    for entry in contents.entries(&base::get()?)? {
        if !entry.to.ends_with(PARTITION) {
            put(root, &entry)?;
        }
    }
    let own = |to: &str, kind| {
        put(
            root,
            &Entry {
                to: to.into(),
                kind,
                mode: 0o644,
                owner: 0,
            },
        )
    };
    let mount = Kind::Bytes(DATA_MOUNT.into());
    own(&format!("/{UNITS}/data.mount"), mount)?;
    // Those of the test VM name the cloud on its host.
    own("/etc/hosts", Kind::Bytes("127.0.0.1 localhost\n".into()))?;
    own(RESOLVER, Kind::Bytes(image.resolver.into()))?;
    own(
        &format!("/{UNITS}/{}", LIMITS.0),
        Kind::Bytes(LIMITS.1.into()),
    )?;
    let wanted = format!("/etc/systemd/system/docker.service.wants/{}", LIMITS.0);
    own(&wanted, Kind::Link(format!("/{UNITS}/{}", LIMITS.0)))?;
    for unit in UNNEEDED {
        let link = Kind::Link("/dev/null".into());
        own(&format!("/etc/systemd/system/{unit}"), link)?;
    }
    Ok(())
}

fn put(root: &Path, entry: &Entry) -> Result<()> {
    let path = root.join(entry.to.trim_start_matches('/'));
    let parent = path.parent().context("a directory")?;
    file::create_directory(parent, 0o755)?;
    match &entry.kind {
        Kind::Link(target) => {
            return symlink(target, &path).with_context(|| format!("linking {}", entry.to));
        }
        Kind::Bytes(bytes) => file::write(&path, bytes, entry.mode)?,
        Kind::File(from) => {
            fs::copy(from, &path).with_context(|| format!("copying {}", from.display()))?;
        }
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(entry.mode))
        .with_context(|| format!("changing the mode of {}", entry.to))?;
    // Directories below a home are its owner's, as the test VM has them.
    let owned = [path.as_path(), parent];
    let mut owned = owned.iter().take(1 + usize::from(entry.owner != 0));
    owned
        .try_for_each(|path| chown(path, Some(entry.owner), Some(entry.owner)))
        .with_context(|| format!("changing the owner of {}", entry.to))
}
