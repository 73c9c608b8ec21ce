//! Device whose first process is systemd: real units, their sandboxes and timers, without
//! the boot of a kernel. It has the base system of the test VM and runs under
//! systemd-nspawn. Root is required.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use edge_common::{Root, file};
use rustix::process::{Pid, Signal, kill_process};

use crate::host::find;
use crate::vm::base;

/// Time in which systemd must start the units of the boot.
const BOOT_TIMEOUT: Duration = Duration::from_secs(300);
/// Pause between two looks at the boot.
const BOOT_INTERVAL: Duration = Duration::from_millis(200);
/// Directory of units and of their settings on the device.
pub(super) const UNITS: &str = "usr/lib/systemd/system";
/// `PATH` of the commands on the device.
const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";
/// Mounts base system and own files, then becomes the container. The mounts end with its
/// mount namespace. The engine cannot store its layers on an overlay, so that the data
/// partition is a directory of its own.
const START: &str = "set -eu
cd \"$1\"
mount --make-rprivate /
mount -o ro,loop,noload \"$2\" base
mount -t overlay -o lowerdir=base,upperdir=files,workdir=work overlay root
export SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=\"$5\" SYSTEMD_NSPAWN_API_VFS_WRITABLE=network
exec \"$3\" --quiet --directory=root --bind=\"$1/data:/partition\" --bind=/dev/net/tun \
	--resolv-conf=off --machine=device --register=no --keep-unit --boot \"$4\" --capability=all \
	--system-call-filter='@keyring bpf'";
/// Data partition of the device.
pub(super) const DATA_MOUNT: &str =
    "[Mount]\nWhat=/partition\nWhere=/data\nType=none\nOptions=bind\n";
/// Units of the VPN that a test starts itself.
const MASKED: [&str; 3] = ["edge-vpn.path", "edge-vpn.timer", "edge-vpn-ssh.service"];
/// Unit that lets the engine set the limits of apps: systemd-nspawn mounts the controllers
/// of version 1 read-only. Without limits the boot audit would keep every app.
pub(super) const LIMITS: (&str, &str) = (
    "device-limits.service",
    "[Unit]\nConditionPathExists=/sys/fs/cgroup/pids\nBefore=docker.service containerd.service\n\
     [Service]\nType=oneshot\nRemainAfterExit=yes\n\
     ExecStart=/bin/sh -c 'for c in /sys/fs/cgroup/*/; do mount -o remount,bind,rw $$c; done'\n",
);
/// Units of the base system that a device in a container does not need.
pub(super) const UNNEEDED: [&str; 4] = [
    "systemd-networkd.service",
    "systemd-networkd-wait-online.service",
    "systemd-timesyncd.service",
    "systemd-udevd.service",
];
/// Units that are enabled: target and unit.
const ENABLED: [(&str, &str); 7] = [
    ("local-fs.target.wants", "data.mount"),
    ("docker.service.wants", LIMITS.0),
    ("docker.service.wants", "edge-docker-layers.service"),
    ("docker.service.wants", "edge-docker-recover.service"),
    ("multi-user.target.wants", "docker.service"),
    ("paths.target.wants", "edge-docker-ticket-end.path"),
    ("sockets.target.wants", "edge-docker-authz.socket"),
];
/// Files of the Yocto layer below `recipes-edge`, and their paths on the device.
const PRODUCT: [(&str, &str); 9] = [
    ("edge-policy/files/daemon.json", "etc/docker/daemon.json"),
    ("edge-policy/files/seccomp.json", "etc/docker/seccomp.json"),
    (
        "edge-policy/files/containerd.toml",
        "etc/containerd/config.toml",
    ),
    ("edge-policy/files/devices.json", "etc/edge-ai/devices.json"),
    (
        "edge-policy/files/docker-data.conf",
        "usr/lib/systemd/system/docker.service.d/edge.conf",
    ),
    (
        "edge-policy/files/containerd-engine.conf",
        "usr/lib/systemd/system/containerd.service.d/edge.conf",
    ),
    (
        "edge-data/files/var-lib-containerd.mount",
        "usr/lib/systemd/system/var-lib-containerd.mount",
    ),
    (
        "edge-data/files/edge-data.conf",
        "usr/lib/tmpfiles.d/edge-data.conf",
    ),
    ("edge-policy/files/sudoers-edge", "etc/sudoers.d/edge"),
];

/// Running device. Dropping it kills all of its processes.
pub struct Booted {
    container: Option<Child>,
    pid: u32,
    directory: PathBuf,
    settings: Settings,
}

/// Settings of systemd-nspawn that differ between devices.
pub(super) struct Settings {
    /// Option of the network.
    network: OsString,
    /// Whether the device has cgroups of version 2 alone. Where this machine has controllers
    /// in version 1, version 2 has none, and the engine would drop all limits of containers.
    unified: bool,
}

impl Settings {
    /// Settings with the cgroups of this machine.
    pub(super) fn with(network: OsString) -> Self {
        Self {
            network,
            unified: !Path::new("/sys/fs/cgroup/pids").exists(),
        }
    }
}

impl Booted {
    /// Boots a device with the given programs in `/usr/bin` and further files: path on the
    /// device and content. `directory` must be empty, and not on an overlay.
    ///
    /// # Errors
    /// The caller is not root, a program is missing, or the device does not boot in time.
    pub fn start(directory: &Path, programs: &[&Path], more: &[(&str, &[u8])]) -> Result<Self> {
        prepare(directory)?;
        files(&directory.join("files"), programs, more)?;
        Self::of(directory, Settings::with("--private-network".into()))
    }

    /// Boots a device whose files are written.
    pub(super) fn of(directory: &Path, settings: Settings) -> Result<Self> {
        let mut device = Self {
            container: None,
            pid: 0,
            directory: directory.into(),
            settings,
        };
        device.boot()?;
        Ok(device)
    }

    /// Starts the device again after [`Booted::cut_power`].
    ///
    /// # Errors
    /// The device does not boot in time.
    pub fn boot(&mut self) -> Result<()> {
        let directory = &self.directory;
        let log = fs::File::create(directory.join("console")).context("creating the log")?;
        let mut command = Root::system().command(find("setpriv")?);
        // The container ends with the test, also if that is killed.
        command.args(["--pdeathsig=KILL", "unshare", "--mount"]);
        command.args(["/bin/sh", "-c", START, "sh"]);
        command.arg(directory).arg(base::get()?.image);
        command
            .arg(find("systemd-nspawn")?)
            .arg(&self.settings.network);
        command.arg(u8::from(self.settings.unified).to_string());
        command.env_clear().env("PATH", PATH).stdin(Stdio::null());
        let container = command.stdout(log.try_clone()?).stderr(log).spawn();
        self.container = Some(container.context("starting the container")?);
        self.wait()
    }

    /// Kills all processes at once, as a power loss does.
    pub fn cut_power(&mut self) {
        let Some(mut container) = self.container.take() else {
            return;
        };
        // The end of the first process kills all others, and nspawn ends after it.
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        match pid {
            Some(pid) => drop(kill_process(pid, Signal::KILL)),
            None => drop(container.kill()),
        }
        let _ = container.wait();
        self.pid = 0;
    }

    /// Waits until the boot is complete.
    fn wait(&mut self) -> Result<()> {
        let end = Instant::now() + BOOT_TIMEOUT;
        while Instant::now() < end {
            let container = self.container.as_mut().context("the device is off")?;
            let id = container.id();
            if let Some(status) = container.try_wait()? {
                bail!("the container ended with {status}: {}", self.console());
            }
            let children = format!("/proc/{id}/task/{id}/children");
            let children = fs::read_to_string(children).unwrap_or_default();
            self.pid = children.trim().parse().unwrap_or(0);
            if self.pid != 0 {
                let mut state = self.command("systemctl");
                let state = state.args(["is-active", "multi-user.target"]).output()?;
                if state.stdout == b"active\n" {
                    return Ok(());
                }
            }
            std::thread::sleep(BOOT_INTERVAL);
        }
        bail!("no boot within {BOOT_TIMEOUT:?}: {}", self.console())
    }

    /// Returns the console of the boot.
    pub fn console(&self) -> String {
        fs::read_to_string(self.directory.join("console")).unwrap_or_default()
    }

    /// Returns the command that runs `program` on the device as root.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Root::system().command("/usr/bin/nsenter");
        command.args(["--all", "--root", "--wd", "--target"]);
        command.arg(self.pid.to_string()).args(["--", program]);
        command.env_clear().env("PATH", PATH);
        command
    }

    /// Returns the path on this machine of a path of the device.
    pub fn path(&self, path: &str) -> PathBuf {
        Path::new(&format!("/proc/{}/root", self.pid)).join(path.trim_start_matches('/'))
    }
}

impl Drop for Booted {
    fn drop(&mut self) {
        self.cut_power();
    }
}

/// Creates the directories of a device.
pub(super) fn prepare(directory: &Path) -> Result<()> {
    let mut names = ["base", "work", "root", "data"].iter();
    names.try_for_each(|name| file::create_directory(&directory.join(name), 0o755))
}

/// Writes the files of the device that the base system lacks.
fn files(root: &Path, programs: &[&Path], more: &[(&str, &[u8])]) -> Result<()> {
    let put = |name: &str, text: &[u8], mode| {
        let path = root.join(name.trim_start_matches('/'));
        file::create_directory(path.parent().context("a directory")?, 0o755)?;
        file::write(&path, text, mode)
    };
    file::create_directory(root, 0o755)?;
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let recipes = source.join("yocto/meta-edge-secure/recipes-edge");
    for (from, to) in PRODUCT {
        put(to, &file::read(&recipes.join(from), 64 * 1024)?, 0o644)?;
    }
    for name in ["edge-docker", "edge-vpn"] {
        let units = source.join("crates").join(name).join("systemd");
        for unit in fs::read_dir(units).context("reading the units")? {
            let unit = unit?;
            let to = format!("{UNITS}/{}", unit.file_name().to_string_lossy());
            put(&to, &file::read(&unit.path(), 64 * 1024)?, 0o644)?;
        }
    }
    put(&format!("{UNITS}/data.mount"), DATA_MOUNT.as_bytes(), 0o644)?;
    put(&format!("{UNITS}/{}", LIMITS.0), LIMITS.1.as_bytes(), 0o644)?;
    for (path, content) in more {
        put(path, content, 0o644)?;
    }
    let link = |to: &str, name: String| -> Result<()> {
        let path = root.join("etc/systemd/system").join(name);
        file::create_directory(path.parent().context("a directory")?, 0o755)?;
        symlink(to, &path).with_context(|| format!("linking {}", path.display()))
    };
    for unit in MASKED.iter().chain(&UNNEEDED) {
        link("/dev/null", (*unit).into())?;
    }
    for (target, unit) in ENABLED {
        link(&format!("/{UNITS}/{unit}"), format!("{target}/{unit}"))?;
    }
    let bin = root.join("usr/bin");
    file::create_directory(&bin, 0o755)?;
    for program in programs {
        let name = program.file_name().context("a program without a name")?;
        fs::copy(program, bin.join(name)).with_context(|| program.display().to_string())?;
    }
    Ok(())
}
