//! Devices in namespaces of this machine: the real edge-docker, sudo rule, sshd and
//! container engine with their own files, processes and network. A device starts in
//! two seconds and occupies no TCP port of this machine; tests of the kernel, of
//! systemd units or of the boot use the test VM instead. Root is required.

mod booted;
mod files;
mod fleet;
mod holder;
mod image;
mod network;

pub use booted::Booted;
pub use fleet::Fleet;
pub use holder::Namespaces;
pub use image::Image;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use edge_common::command::CommandExt as _;
use edge_common::{Root, file};

use crate::host::program;

/// Shell script that is the first process of a device.
const FIRST_PROCESS: &str = include_str!("device.sh");
/// Size of the end of a log that is quoted in an error message, in bytes.
const LOG_TAIL_BYTES: usize = 2000;

/// Settings with which a device is started: trust anchors, programs, engine and
/// ports.
pub struct Settings<'a> {
    /// Host name of the device in its ssh configuration.
    pub name: &'a str,
    /// Program that is installed as edge-docker; `None` selects that of this
    /// workspace.
    pub edge_docker: Option<&'a Path>,
    /// The only repository from which edge-docker pulls: `HOST/PATH`.
    pub repository: &'a str,
    /// PEM files of the trusted public keys of signers. If there are none, no image
    /// is trusted.
    pub keys: &'a [PathBuf],
    /// PEM files of the public keys that sign break-glass tickets. If there are none, the
    /// device takes no tickets.
    pub engineer_keys: &'a [PathBuf],
    /// PEM files of the CA certificates of the registry.
    pub ca_bundle: &'a [PathBuf],
    /// Whether the policy of the device permits sandbox images.
    pub sandbox: bool,
    /// Whether the device starts a container engine.
    pub engine: bool,
    /// Whether ssh can log in to the device. This needs the program edge-sim, which is the
    /// link between ssh and the device.
    pub ssh: bool,
    /// Ports of the device's loopback that are forwarded to the same ports of this
    /// machine's loopback.
    pub ports: &'a [u16],
}

impl Default for Settings<'_> {
    fn default() -> Self {
        Self {
            name: "device",
            edge_docker: None,
            repository: "registry.test/edge-ai",
            keys: &[],
            engineer_keys: &[],
            ca_bundle: &[],
            sandbox: true,
            engine: true,
            ssh: true,
            ports: &[],
        }
    }
}

/// Simulated link between ssh and a device, with the delay and rate of `edge-sim
/// relay`.
#[derive(Clone, Copy, Default)]
pub struct Link {
    /// Round-trip time in milliseconds.
    pub rtt: u32,
    /// Rate in each direction, in Mbit/s; 0: no limit.
    pub rate: u32,
}

/// Running device in namespaces. Dropping it shuts the device down.
pub struct Device {
    directory: PathBuf,
    name: String,
    engine: bool,
    ssh: bool,
    ports: Vec<u16>,
    link: Link,
    namespaces: Option<Namespaces>,
}

impl Device {
    /// Writes the files of a device to `directory`, which must be empty, and boots
    /// the device.
    ///
    /// # Errors
    /// If the caller is not root, a program is missing, or the engine ends.
    pub fn start(directory: &Path, settings: &Settings) -> Result<Self> {
        files::write(directory, settings)?;
        let mut device = Self {
            directory: directory.into(),
            name: settings.name.into(),
            engine: settings.engine,
            ssh: settings.ssh,
            ports: settings.ports.into(),
            link: Link::default(),
            namespaces: None,
        };
        device.boot()?;
        Ok(device)
    }

    /// Starts the device again after [`Device::shut_down`] or
    /// [`Device::cut_power`].
    ///
    /// # Errors
    /// As [`Device::start`].
    pub fn boot(&mut self) -> Result<()> {
        let log = fs::File::create(self.directory.join("log"))?;
        let engine = if self.engine { "engine" } else { "no-engine" };
        let args = [&self.directory, Path::new(engine)];
        let namespaces = Namespaces::start(FIRST_PROCESS, &args, log.into());
        let namespaces =
            namespaces.with_context(|| format!("starting device {}: {}", self.name, self.log()))?;
        network::forward(&namespaces, &self.ports)?;
        self.namespaces = Some(namespaces);
        if self.ssh {
            self.set_link(self.link)?;
        }
        Ok(())
    }

    /// Returns the ends of the logs of the first process and of the container
    /// engine.
    pub fn log(&self) -> String {
        let texts = ["log", "root/var/log/dockerd"].map(|name| {
            let text = fs::read(self.directory.join(name)).unwrap_or_default();
            let tail = &text[text.len().saturating_sub(LOG_TAIL_BYTES)..];
            String::from_utf8_lossy(tail).into_owned()
        });
        texts.concat()
    }

    /// Stops the container engine and waits for its end, then kills all other
    /// processes.
    pub fn shut_down(&mut self) {
        if let Some(namespaces) = self.namespaces.take() {
            namespaces.end();
        }
    }

    /// Kills all processes at once, as a power loss does.
    pub fn cut_power(&mut self) {
        self.namespaces = None;
    }

    /// Changes the link between ssh and the device, for new connections.
    ///
    /// # Errors
    /// If the configuration of ssh cannot be written.
    pub fn set_link(&mut self, link: Link) -> Result<()> {
        self.link = link;
        let edge_sim = program("edge-sim")?;
        let text = files::ssh_config(&self.directory, &self.name, &edge_sim, link, self.pid());
        file::write(&self.ssh_config(), text.as_bytes(), 0o600)
    }

    /// Kills every ssh connection to the device, as a network failure does.
    ///
    /// # Errors
    /// If the counters of the links cannot be read.
    pub fn cut_connections(&self) -> Result<()> {
        let edge_sim = program("edge-sim")?;
        for entry in fs::read_dir(self.directory.join("links"))? {
            let pid = entry?.file_name();
            let pid = pid.to_string_lossy();
            // The PID may belong to another program by now.
            let executable = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
            if executable.file_name() == edge_sim.file_name() {
                let mut kill = Root::system().command("/bin/kill");
                let _ = kill.args(["-KILL", &pid]).run();
            }
        }
        Ok(())
    }

    /// Returns the bytes that ssh sent and received over all connections.
    ///
    /// # Errors
    /// If the counters of the links cannot be read.
    pub fn traffic(&self) -> Result<(u64, u64)> {
        let mut sum = (0, 0);
        for entry in fs::read_dir(self.directory.join("links"))? {
            let text = fs::read_to_string(entry?.path())?;
            let mut numbers = text.split_whitespace().map(|n| n.parse().unwrap_or(0));
            sum.0 += numbers.next().unwrap_or(0);
            sum.1 += numbers.next().unwrap_or(0);
        }
        Ok(sum)
    }

    /// Returns the path of an ssh configuration for `ssh -F PATH NAME`, as user
    /// edge or root.
    pub fn ssh_config(&self) -> PathBuf {
        self.directory.join("ssh_config")
    }

    /// Returns the path on this machine of a path of the device, whether the device
    /// is on or off. File systems that only the device mounts, such as `/run`, are
    /// not visible there.
    pub fn path(&self, path: &str) -> PathBuf {
        self.directory
            .join("root")
            .join(path.trim_start_matches('/'))
    }

    /// Returns the path on this machine of any path of the device, including its
    /// mounts, while the device is on.
    pub fn inside(&self, path: &str) -> PathBuf {
        Path::new(&format!("/proc/{}/root", self.pid())).join(path.trim_start_matches('/'))
    }

    /// Returns the directory of all files of the device; `root` in it is the root
    /// file system.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Returns the address of the device's engine as the value of `DOCKER_HOST` on
    /// this machine.
    pub fn engine(&self) -> String {
        format!("unix://{}", self.path("/data/engine.sock").display())
    }

    /// Returns the PID of the device's first process as this machine shows it; 0 if
    /// the device is off.
    pub fn pid(&self) -> u32 {
        self.namespaces.as_ref().map_or(0, Namespaces::pid)
    }

    /// Returns the command that runs `program` on the device as root.
    ///
    /// # Panics
    /// If the device is off.
    pub fn command(&self, program: &str) -> Command {
        let namespaces = self.namespaces.as_ref();
        namespaces.expect("the device is on").command(program)
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.shut_down();
    }
}
