//! Base system of the test VM: packages of the distribution, a kernel and an
//! initrd, built once for each set of inputs and kept in the cache directory.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use edge_common::command::CommandExt as _;
use edge_common::{Root, file, log};

use crate::host::{cache, find};

/// Size of the root file system, in bytes.
pub(crate) const APP_BYTES: u64 = 1200 * 1024 * 1024;
/// Packages that are installed in addition to the minimal system of the
/// distribution.
const PACKAGES: &str = "systemd,systemd-sysv,udev,dbus,openssh-server,sudo,docker.io,iptables,nftables,\
    e2fsprogs,ca-certificates,iproute2,initramfs-tools,lz4,kmod,curl";
/// Script that mmdebstrap runs to configure the installed packages.
const CUSTOMIZE: &str = include_str!("customize.sh");
/// Script that packs the root file system as ext4. The script runs as root or in a
/// user namespace, so that it can set the owners of files.
const PACK: &str = "set -eu
cd \"$1\"
mkdir root
tar -C root -xf base.tar
cp root/boot/vmlinuz-* vmlinuz
cp root/boot/initrd.img-* initrd
rm -rf root/boot/*
mke2fs -q -F -t ext4 -L APP -b 4096 -d root base.ext4 \"$2\"
rm -rf root base.tar";

/// Paths of the base system's files in the cache directory.
pub(crate) struct Base {
    /// Image of the root file system, ext4.
    pub image: PathBuf,
    /// Linux kernel (`vmlinuz`).
    pub kernel: PathBuf,
    /// Initial RAM disk of the kernel.
    pub initrd: PathBuf,
}

/// Returns the cached base system, which is built first if there is none for the
/// current inputs.
pub(crate) fn get() -> Result<Base> {
    let host = Host::read()?;
    let inputs = format!("{host:?}{PACKAGES}{CUSTOMIZE}{PACK}{}", APP_BYTES);
    let hash = openssl::sha::sha256(inputs.as_bytes());
    let name = edge_common::hex::encode(&hash[..8]);
    let directory = cache().join("vm").join(name);
    if !directory.join("base.ext4").exists() {
        build(&host, &directory)?;
    }
    Ok(Base {
        image: directory.join("base.ext4"),
        kernel: directory.join("vmlinuz"),
        initrd: directory.join("initrd"),
    })
}

/// Distribution release and kernel package of this machine. The programs in the
/// test VM are linked to the libraries of this machine, so both must be of the same
/// release.
#[derive(Debug)]
struct Host {
    release: String,
    kernel: &'static str,
}

impl Host {
    fn read() -> Result<Self> {
        let text = file::read_text(Path::new("/etc/os-release"), 64 * 1024)?;
        let value = |key: &str| {
            let line = text.lines().find_map(|l| l.strip_prefix(key));
            line.map(|v| v.trim_matches('"').to_string())
        };
        let kernel = match value("ID=").as_deref() {
            Some("debian") => "linux-image-cloud-amd64",
            Some("ubuntu") => "linux-image-virtual",
            _ => bail!("the test VM takes its packages from Debian or Ubuntu: run it there"),
        };
        let release = value("VERSION_CODENAME=").context("reading the release's name")?;
        Ok(Self { release, kernel })
    }
}

fn build(host: &Host, directory: &Path) -> Result<()> {
    log::info("building the base system of the test VM, once: about 2 minutes");
    let parent = directory
        .parent()
        .context("the cache has no parent directory")?;
    file::create_directory(parent, 0o755)?;
    let work = tempfile::Builder::new()
        .prefix(".building-")
        .tempdir_in(parent)
        .context("creating a temporary directory")?;
    let at = work.path();
    let script = at.join("customize.sh");
    file::write(&script, CUSTOMIZE.as_bytes(), 0o755)?;
    let mmdebstrap = find("mmdebstrap")?;
    Root::system()
        .command(&mmdebstrap)
        .args(["--quiet", "--variant=minbase"])
        .arg(format!("--include={PACKAGES},{}", host.kernel))
        .args(
            ["doc", "man", "locale", "info"]
                .map(|d| format!("--dpkgopt=path-exclude=/usr/share/{d}/*")),
        )
        .arg(format!("--customize-hook=sh '{}' \"$1\"", script.display()))
        .arg(&host.release)
        .arg(at.join("base.tar"))
        .run()?;
    // Without root, mmdebstrap works in a user namespace, whose user ids own the
    // files that it packs. The script must run in a namespace with the same user
    // ids.
    let root = fs::metadata("/proc/self").is_ok_and(|m| m.uid() == 0);
    let mut pack = if root {
        Root::system().command("/bin/sh")
    } else {
        let everyone = fs::Permissions::from_mode(0o777);
        fs::set_permissions(at, everyone).context("opening the directory to the user namespace")?;
        let mut helper = Root::system().command(&mmdebstrap);
        helper.args(["--unshare-helper", "/bin/sh"]);
        helper
    };
    pack.args(["-c", PACK, "pack"]).arg(at);
    pack.arg(format!("{}k", APP_BYTES / 1024)).run()?;
    fs::rename(at, directory).with_context(|| format!("keeping {}", directory.display()))
}
