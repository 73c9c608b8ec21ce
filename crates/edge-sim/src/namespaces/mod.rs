//! Devices in namespaces of this machine: the real edge-docker, sudo rule, sshd
//! and engine with files, processes and a network of their own. A device starts
//! in two seconds and takes no port; tests of the kernel, of units or of the boot
//! use the test VM. Needs root.

mod files;
mod fleet;
mod holder;
mod network;

pub use fleet::Fleet;
pub use holder::Namespaces;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use edge_common::command::CommandExt as _;
use edge_common::{Root, file};

use crate::host::program;

/// First process of a device.
const FIRST_PROCESS: &str = include_str!("device.sh");
/// Length of the end of a log in a message, in bytes.
const LOG_TAIL_BYTES: usize = 2000;

/// Configuration of a device.
pub struct Settings<'a> {
    /// Name as a host of ssh.
    pub name: &'a str,
    /// Program that is installed as edge-docker; by default that of this workspace.
    pub edge_docker: Option<&'a Path>,
    /// The only repository from which it pulls.
    pub repository: &'a str,
    /// Trusted public keys, PEM files. Without any, no image is trusted.
    pub keys: &'a [PathBuf],
    /// CA certificates of the registry, PEM files.
    pub ca_bundle: &'a [PathBuf],
    /// Whether its policy permits sandbox images.
    pub sandbox: bool,
    /// Whether it starts a container engine.
    pub engine: bool,
    /// Ports of its loopback that are forwarded to the loopback of this machine.
    pub ports: &'a [u16],
}

impl Default for Settings<'_> {
    fn default() -> Self {
        Self {
            name: "device",
            edge_docker: None,
            repository: "registry.test/edge-ai",
            keys: &[],
            ca_bundle: &[],
            sandbox: true,
            engine: true,
            ports: &[],
        }
    }
}

/// Link between ssh and a device.
#[derive(Clone, Copy, Default)]
pub struct Link {
    /// Round trip in milliseconds.
    pub rtt: u32,
    /// Rate in each direction, in Mbit/s; 0: no limit.
    pub rate: u32,
}

/// A device. It ends when it is dropped.
pub struct Device {
    directory: PathBuf,
    name: String,
    ports: Vec<u16>,
    link: Link,
    namespaces: Option<Namespaces>,
}

impl Device {
    /// Writes the files of a device to `directory`, which is empty, and starts it.
    ///
    /// # Errors
    /// If the caller is not root, a program is missing, or the engine ends.
    pub fn start(directory: &Path, settings: &Settings) -> Result<Self> {
        files::write(directory, settings)?;
        let mut device = Self {
            directory: directory.into(),
            name: settings.name.into(),
            ports: settings.ports.into(),
            link: Link::default(),
            namespaces: None,
        };
        device.boot()?;
        Ok(device)
    }

    /// Starts it again after [`Device::shut_down`] or [`Device::cut_power`].
    ///
    /// # Errors
    /// As [`Device::start`].
    pub fn boot(&mut self) -> Result<()> {
        let log = fs::File::create(self.directory.join("log"))?;
        let namespaces = Namespaces::start(FIRST_PROCESS, &[&self.directory], log.into());
        let namespaces =
            namespaces.with_context(|| format!("starting device {}: {}", self.name, self.log()))?;
        network::forward(&namespaces, &self.ports)?;
        self.namespaces = Some(namespaces);
        self.set_link(self.link)
    }

    /// End of the log of its first process and of its engine.
    pub fn log(&self) -> String {
        let texts = ["log", "root/var/log/dockerd"].map(|name| {
            let text = fs::read(self.directory.join(name)).unwrap_or_default();
            let tail = &text[text.len().saturating_sub(LOG_TAIL_BYTES)..];
            String::from_utf8_lossy(tail).into_owned()
        });
        texts.concat()
    }

    /// Stops the engine in order, then everything else.
    pub fn shut_down(&mut self) {
        if let Some(namespaces) = self.namespaces.take() {
            namespaces.end();
        }
    }

    /// Kills everything at once.
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

    /// Kills every connection of ssh to it.
    ///
    /// # Errors
    /// If the counters of the links cannot be read.
    pub fn cut_connections(&self) -> Result<()> {
        let edge_sim = program("edge-sim")?;
        for entry in fs::read_dir(self.directory.join("links"))? {
            let pid = entry?.file_name();
            let pid = pid.to_string_lossy();
            // The number may belong to another program by now.
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

    /// Configuration of ssh: `ssh -F … NAME`, as user edge or root.
    pub fn ssh_config(&self) -> PathBuf {
        self.directory.join("ssh_config")
    }

    /// Path outside of a path of the device that is not below `/run`.
    pub fn path(&self, path: &str) -> PathBuf {
        self.directory
            .join("root")
            .join(path.trim_start_matches('/'))
    }

    /// Path outside of any path of the device while it runs.
    pub fn inside(&self, path: &str) -> PathBuf {
        Path::new(&format!("/proc/{}/root", self.pid())).join(path.trim_start_matches('/'))
    }

    /// Directory of all its files.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Address of its engine from outside, for `DOCKER_HOST`.
    pub fn engine(&self) -> String {
        format!("unix://{}", self.path("/data/engine.sock").display())
    }

    /// Process id of its first process, seen from outside; 0 if it is off.
    pub fn pid(&self) -> u32 {
        self.namespaces.as_ref().map_or(0, Namespaces::pid)
    }

    /// Command of a program on the device, run by root.
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
