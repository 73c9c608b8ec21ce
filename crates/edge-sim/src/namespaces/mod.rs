//! Devices in namespaces of this machine: the real edge-docker, sudo rule, sshd
//! and engine with files, processes and a network of their own. A device starts
//! in two seconds and takes no port; tests of the kernel, of units or of the boot
//! use the test VM. Needs root.

mod files;
mod fleet;
mod network;

pub use fleet::Fleet;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use edge_common::command::CommandExt as _;
use edge_common::{Root, file};

use crate::process::find;

/// What a device is made of.
pub struct Settings<'a> {
    /// Its name for ssh.
    pub name: &'a str,
    /// `edge-docker`, built.
    pub edge_docker: &'a Path,
    /// `edge-sim`, built: it is the link to the device.
    pub edge_sim: &'a Path,
    /// The one repository.
    pub repository: &'a str,
    /// Public keys of which one must have signed, PEM; without any, nobody can.
    pub keys: &'a [PathBuf],
    /// CA certificates of the registry, PEM files.
    pub ca_bundle: &'a [PathBuf],
    /// May sandbox images run?
    pub sandbox: bool,
    /// Start an engine? Without one, whatever listens at `run/docker.sock`.
    pub engine: bool,
    /// Ports of this machine's loopback that the device's loopback leads to.
    pub ports: &'a [u16],
}

impl Default for Settings<'_> {
    fn default() -> Self {
        Self {
            name: "device",
            edge_docker: Path::new(""),
            edge_sim: Path::new(""),
            repository: "registry.test/edge-ai",
            keys: &[],
            ca_bundle: &[],
            sandbox: true,
            engine: true,
            ports: &[],
        }
    }
}

/// What lies between ssh and the device.
#[derive(Clone, Copy, Default)]
pub struct Link {
    /// Time to the device and back, in milliseconds.
    pub rtt: u32,
    /// Millions of bits a second in each direction; 0 is without a limit.
    pub rate: u32,
}

/// A device that runs. It ends when it is dropped.
pub struct Device {
    directory: PathBuf,
    name: String,
    edge_sim: PathBuf,
    ports: Vec<u16>,
    link: Link,
    running: Option<Running>,
}

struct Running {
    outer: Child,
    inner: u32,
}

impl Device {
    /// Makes a device in `directory`, which is empty, and starts it.
    ///
    /// # Errors
    /// Not root, something that is not installed, an engine that ends.
    pub fn start(directory: &Path, settings: &Settings) -> Result<Self> {
        files::write(directory, settings)?;
        let mut device = Self {
            directory: directory.into(),
            name: settings.name.into(),
            edge_sim: settings.edge_sim.into(),
            ports: settings.ports.into(),
            link: Link::default(),
            running: None,
        };
        device.boot()?;
        Ok(device)
    }

    /// Starts it again after [`Device::shut_down`] or [`Device::cut_power`].
    ///
    /// # Errors
    /// As [`Device::start`].
    pub fn boot(&mut self) -> Result<()> {
        let log = self.directory.join("log");
        let mut command = Root::system().command(find("unshare")?);
        command.args(["--mount", "--net", "--pid", "--uts", "--ipc"]);
        command.args(["--fork", "--kill-child=KILL", "/bin/sh"]);
        command
            .arg(self.directory.join("device.sh"))
            .arg(&self.directory)
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(fs::File::create(&log)?);
        let mut outer = command.spawn().context("starting unshare")?;
        let mut line = String::new();
        let out = outer.stdout.take().context("standard output")?;
        BufReader::new(out).read_line(&mut line)?;
        if line != "ready\n" {
            let _ = outer.kill();
            let _ = outer.wait();
            bail!("starting the device {}: {}", self.name, self.log());
        }
        let children = format!("/proc/{0}/task/{0}/children", outer.id());
        let inner = fs::read_to_string(children).context("finding the device's process")?;
        let inner = inner
            .trim()
            .parse()
            .context("finding the device's process")?;
        network::forward(inner, &self.ports)?;
        self.running = Some(Running { outer, inner });
        self.set_link(self.link)
    }

    /// What it and its engine said last.
    pub fn log(&self) -> String {
        let texts = ["log", "root/var/log/dockerd"].map(|name| {
            let text = fs::read(self.directory.join(name)).unwrap_or_default();
            String::from_utf8_lossy(&text[text.len().saturating_sub(2000)..]).into_owned()
        });
        texts.concat()
    }

    /// Lets the engine end in order, then everything.
    pub fn shut_down(&mut self) {
        let Some(mut running) = self.running.take() else {
            return;
        };
        drop(running.outer.stdin.take());
        let end = Instant::now() + Duration::from_secs(20);
        while Instant::now() < end {
            if let Ok(Some(_)) = running.outer.try_wait() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = running.outer.kill();
        let _ = running.outer.wait();
    }

    /// Ends everything at once.
    pub fn cut_power(&mut self) {
        if let Some(mut running) = self.running.take() {
            let _ = running.outer.kill();
            let _ = running.outer.wait();
        }
    }

    /// Puts a link between ssh and the device; connections that are open keep
    /// theirs.
    ///
    /// # Errors
    /// The configuration of ssh cannot be written.
    pub fn set_link(&mut self, link: Link) -> Result<()> {
        self.link = link;
        let text = files::ssh_config(
            &self.directory,
            &self.name,
            &self.edge_sim,
            link,
            self.pid(),
        );
        file::write(&self.ssh_config(), text.as_bytes(), 0o600)
    }

    /// Cuts every connection of ssh to it.
    ///
    /// # Errors
    /// The records of the links cannot be read.
    pub fn cut_connections(&self) -> Result<()> {
        for entry in fs::read_dir(self.directory.join("links"))? {
            let name = entry?.file_name();
            let name = name.to_string_lossy();
            let program = fs::read_link(format!("/proc/{name}/exe")).unwrap_or_default();
            if program.file_name() == self.edge_sim.file_name() {
                let mut kill = Root::system().command("/bin/kill");
                let _ = kill.args(["-KILL", &name]).run();
            }
        }
        Ok(())
    }

    /// Bytes that ssh sent to it and got from it, over all connections.
    ///
    /// # Errors
    /// The records of the links cannot be read.
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

    /// Configuration for ssh: `ssh -F … NAME`, as user edge or root.
    pub fn ssh_config(&self) -> PathBuf {
        self.directory.join("ssh_config")
    }

    /// A path of the device, seen from outside; not below `/run`.
    pub fn path(&self, path: &str) -> PathBuf {
        self.directory
            .join("root")
            .join(path.trim_start_matches('/'))
    }

    /// A path of the device while it runs, below `/run` too, seen from outside.
    pub fn inside(&self, path: &str) -> PathBuf {
        Path::new(&format!("/proc/{}/root", self.pid())).join(path.trim_start_matches('/'))
    }

    /// The directory of all that it consists of.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// The engine's socket from outside, for `DOCKER_HOST`.
    pub fn engine(&self) -> String {
        format!("unix://{}", self.path("/data/engine.sock").display())
    }

    /// Its first process, seen from outside.
    pub fn pid(&self) -> u32 {
        self.running.as_ref().map_or(0, |r| r.inner)
    }

    /// A program on the device, run by root.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Root::system().command("/usr/bin/nsenter");
        command.args([
            "--all",
            "--root",
            "--wd=/",
            "--target",
            &self.pid().to_string(),
        ]);
        command.args(["--", program]);
        command
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        self.shut_down();
    }
}
