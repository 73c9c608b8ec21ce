//! Device with a sandbox app, whose requests are counted during a deployment.

#[path = "../device/mod.rs"]
mod base;

pub use base::until;

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Device with sandbox images, in which the engine asks no plugin: the tests use `docker`
/// to look at containers.
pub struct Device {
    base: base::Device,
}

impl Device {
    pub fn start() -> Self {
        let mut base = base::Device::start();
        base.without_plugin();
        base.start_engine();
        let device = Self { base };
        device.import();
        device
    }

    /// Returns the command that runs a program on the device.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = self.base.command(args);
        command.stdin(Stdio::null());
        command
    }

    pub fn edge_docker(&self, args: &[&str]) -> Command {
        self.command(&[&["edge-docker"], args].concat())
    }

    /// Runs edge-docker; returns its exit code and output.
    pub fn run(&self, args: &[&str]) -> (i32, String) {
        code_and_output(&self.edge_docker(args).output().unwrap())
    }

    pub fn docker(&self, args: &[&str]) -> String {
        let output = self.command(&[&["docker"], args].concat()).output();
        let (code, output) = code_and_output(&output.unwrap());
        assert_eq!(code, 0, "{args:?}: {output}");
        output.trim().into()
    }

    pub fn start_engine(&mut self) {
        self.base.start_engine();
    }

    /// Stops the engine and all containers, as `systemctl stop docker` does.
    pub fn stop_engine(&mut self) {
        self.base.stop_engine();
    }

    /// Waits for the end of an engine that was killed.
    pub fn wait_for_engine(&mut self) {
        self.base.wait_for_engine();
    }

    /// Kills all processes at once and starts the device again, without the engine.
    pub fn power_cut(&mut self) {
        self.base.restart_after_power_loss();
    }

    pub fn path(&self, path: &str) -> PathBuf {
        self.base.path(path)
    }

    /// Imports `sandbox/hello`: a server, and a shell.
    fn import(&self) {
        let mut child = self
            .command(&[
                "docker",
                "import",
                "--change",
                r#"ENTRYPOINT ["/hello"]"#,
                "-",
                "sandbox/hello",
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(archive()).unwrap();
        assert!(child.wait().unwrap().success());
    }

    /// Requests a page of the app on `port` of the device once.
    pub fn get(&self, port: u16) -> Option<String> {
        let network = self.path("/proc/1/ns/net");
        std::thread::spawn(move || {
            enter(&network);
            get(port)
        })
        .join()
        .unwrap()
    }

    /// Requests pages on `port` until there is one; returns it.
    pub fn answer(&self, port: u16) -> String {
        until("an answer", || self.get(port))
    }

    /// Requests pages in a thread until [`Counter::end`].
    pub fn count(&self, port: u16) -> Counter {
        let stop = Arc::new(AtomicBool::new(false));
        let (network, flag) = (self.path("/proc/1/ns/net"), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            enter(&network);
            let mut counts = (0, 0);
            while !flag.load(Ordering::Relaxed) {
                counts.0 += 1;
                counts.1 += u32::from(get(port).is_none());
                std::thread::sleep(Duration::from_millis(10));
            }
            counts
        });
        Counter { stop, thread }
    }

    /// Returns a value of a container, as `docker inspect` prints it.
    pub fn inspect(&self, name: &str, format: &str) -> String {
        self.docker(&["inspect", "--format", format, name])
    }

    pub fn names(&self) -> Vec<String> {
        let list = self.docker(&["ps", "--all", "--format", "{{.Names}}"]);
        let mut names: Vec<_> = list.lines().map(String::from).collect();
        names.sort();
        names
    }
}

/// Thread that requests pages and counts them.
pub struct Counter {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<(u32, u32)>,
}

impl Counter {
    /// Returns the numbers of requests that were made and that were lost.
    pub fn end(self) -> (u32, u32) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap()
    }
}

/// Moves this thread to a network namespace.
fn enter(network: &Path) {
    let file = fs::File::open(network).unwrap();
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
}

fn get(port: u16) -> Option<String> {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(1))).ok()?;
    stream.write_all(b"GET / HTTP/1.0\r\n\r\n").ok()?;
    let mut text = String::new();
    stream.read_to_string(&mut text).ok()?;
    let body = text.split_once("\r\n\r\n")?.1.trim().to_string();
    (!body.is_empty()).then_some(body)
}

pub fn code_and_output(output: &Output) -> (i32, String) {
    let bytes = [&output.stdout[..], &output.stderr[..]].concat();
    let text = String::from_utf8_lossy(&bytes).into_owned();
    (output.status.code().unwrap_or(-1), text)
}

/// Returns the image's files: the sample app, built once, and this machine's shell.
fn archive() -> &'static [u8] {
    static ARCHIVE: OnceLock<Vec<u8>> = OnceLock::new();
    ARCHIVE.get_or_init(|| {
        let directory = tempfile::tempdir().unwrap();
        let source =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/examples/hello/main.rs");
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let status = Command::new(rustc)
            .args(["--edition=2021", "-Ctarget-feature=+crt-static", "-o"])
            .arg(directory.path().join("hello"))
            .arg(source)
            .status();
        assert!(status.unwrap().success());
        let libraries = Command::new("ldd").arg("/bin/sh").output().unwrap();
        let libraries = String::from_utf8(libraries.stdout).unwrap();
        let libraries = libraries
            .split_whitespace()
            .filter(|w| w.starts_with('/'))
            .map(|w| w.trim_start_matches('/'));
        let output = Command::new("tar")
            .args(["-ch", "-C"])
            .arg(directory.path())
            .args(["hello", "-C", "/", "bin/sh"])
            .args(libraries)
            .output();
        output.unwrap().stdout
    })
}
