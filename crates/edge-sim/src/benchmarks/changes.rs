//! Benchmark of a change of an app on base images of several sizes, with `push` and
//! `sandbox` of edge-app: seconds, bytes sent, and bytes that edge-app wrote to disks.
//! The base images are random bytes, which cannot be compressed.

use std::fs::{self, File};
use std::io::{BufWriter, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use edge_common::command::CommandExt as _;
use edge_common::{Root, file};
use serde_json::json;
use tempfile::TempDir;

use super::deploy::Cloud;
use crate::host::find;
use crate::namespaces::{Device, Settings};
use crate::signals;

/// Number of changes of which the median is printed.
const CHANGES: u64 = 3;
const DOCKERFILE: &str = "\
FROM bench-base:latest
COPY hello /hello
COPY change /change
ENTRYPOINT [\"/hello\"]
STOPSIGNAL SIGKILL
";

/// Command of edge-app that is measured.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Tool {
    /// `edge-app push` of a built version
    Push,
    /// `edge-app sandbox`, build included
    Sandbox,
}

/// Arguments of `edge-sim bench changes`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Directory of the programs of this repository, built with --release
    #[arg(long, value_name = "DIR")]
    programs: PathBuf,
    /// Command that is measured
    #[arg(long)]
    tool: Tool,
    /// Sizes of the base images in MB
    #[arg(long, value_delimiter = ',', default_value = "300,2000,6000")]
    bases: Vec<u64>,
    /// Size of the layer that changes, in kB
    #[arg(long, default_value_t = 200)]
    change: usize,
}

/// Runs the benchmark and prints a table with two rows for each base image.
pub(crate) fn run(args: &Args) -> Result<()> {
    signals::notice()?;
    println!(
        "| MB below {} kB | sent | s | MB sent | MB written to disks |",
        args.change
    );
    println!("|--:|---|--:|--:|--:|");
    for base in &args.bases {
        let testbed = Testbed::new(args, *base)?;
        let first = testbed.measure(args, 0)?;
        print(*base, "the whole image", &first);
        let mut changes = Vec::new();
        for number in 1..=CHANGES {
            changes.push(testbed.measure(args, number)?);
        }
        changes.sort_by(|a, b| a.seconds.total_cmp(&b.seconds));
        print(*base, "one change", &changes[changes.len() / 2]);
    }
    Ok(())
}

struct Figures {
    seconds: f64,
    sent: f64,
    written: f64,
}

fn print(base: u64, sent: &str, figures: &Figures) {
    let Figures {
        seconds,
        sent: bytes,
        written,
    } = figures;
    println!("| {base} | {sent} | {seconds:.2} | {bytes:.3} | {written:.3} |");
}

/// Laptop, device and registry on this machine, and a project.
struct Testbed {
    directory: TempDir,
    cloud: Cloud,
    laptop: Device,
    device: Device,
}

impl Testbed {
    fn new(args: &Args, base: u64) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("edge-bench-").tempdir()?;
        let cloud = Cloud::up()?;
        let registry = cloud.registry()?;
        let port = registry.split(['/', ':']).nth(1);
        let port = port.and_then(|p| p.parse().ok()).context("no port")?;
        let programs = args
            .programs
            .canonicalize()
            .context("finding the programs")?;
        let edge_docker = programs.join("edge-docker");
        let start = |name: &str| {
            let settings = Settings {
                name,
                edge_docker: Some(&edge_docker),
                ports: &[port],
                ..Settings::default()
            };
            let directory = directory.path().join(name);
            file::create_directory(&directory, 0o755)?;
            Device::start(&directory, &settings)
        };
        let (laptop, device) = (start("laptop")?, start("device")?);
        let testbed = Self {
            directory,
            cloud,
            laptop,
            device,
        };
        testbed.project()?;
        testbed.base(base)?;
        Ok(testbed)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn project(&self) -> Result<()> {
        let put = |name: &str, text: &str| file::write(&self.path(name), text.as_bytes(), 0o644);
        file::create_directory(&self.path("hello"), 0o755)?;
        let config = json!({
            "registry": self.cloud.registry()?, "ca": self.cloud.path("ca.pem"),
            "credentials": {
                "username": "AWS",
                "password_file": self.cloud.value("registry_password_file")?,
            },
            "signing_key": self.cloud.value("signing_key")?,
            "platform": format!("linux/{}", edge_signature::architecture()),
            "devices": { "device": { "ssh_config": self.device.ssh_config() } },
        });
        put("edge-app.yaml", &config.to_string())?;
        put("hello/app.yaml", "name: hello\n")?;
        put("hello/Dockerfile", DOCKERFILE)?;
        let source =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/examples/hello/main.rs");
        let mut rustc = Root::system().command(find("rustc")?);
        rustc.args([
            "-O",
            "-C",
            "strip=symbols",
            "-C",
            "target-feature=+crt-static",
            "-o",
        ]);
        rustc.arg(self.path("hello/hello")).arg(source).run()
    }

    /// Imports a base image of `millions` MB of random bytes into the laptop's engine.
    fn base(&self, millions: u64) -> Result<()> {
        let mut import = Root::system().command(find("docker")?);
        import.args(["import", "-", "bench-base:latest"]);
        import.env("DOCKER_HOST", self.laptop.engine());
        import.stdin(Stdio::piped()).stdout(Stdio::null());
        let mut child = import.spawn().context("starting docker")?;
        let stdin = child.stdin.take().context("standard input")?;
        let mut builder = tar::Builder::new(BufWriter::with_capacity(1 << 20, stdin));
        let size = millions * 1_000_000;
        let mut header = tar::Header::new_gnu();
        header.set_size(size);
        header.set_mode(0o644);
        let random = File::open("/dev/urandom").context("opening /dev/urandom")?;
        builder.append_data(&mut header, "usr/lib/base", random.take(size))?;
        builder.into_inner()?.flush()?;
        if !child.wait()?.success() {
            bail!("docker import failed: {}", self.laptop.log());
        }
        Ok(())
    }

    /// Changes the app and measures the command; `number` is that of the change.
    fn measure(&self, args: &Args, number: u64) -> Result<Figures> {
        signals::check()?;
        let mut content = vec![0; args.change * 1000];
        File::open("/dev/urandom")?.read_exact(&mut content)?;
        file::write(&self.path("hello/change"), &content, 0o644)?;
        let version = format!("--version=v{number}");
        let command = match args.tool {
            Tool::Push => {
                self.edge_app(args, &["build", "hello", &version])?;
                vec!["push", "hello", &version]
            }
            Tool::Sandbox => vec!["sandbox", "hello", "device"],
        };
        let (before, start) = (self.sent(args.tool)?, Instant::now());
        let written = self.edge_app(args, &command)?;
        let seconds = start.elapsed().as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "rounded anyway")]
        let millions = |bytes: u64| bytes as f64 / 1e6;
        Ok(Figures {
            seconds,
            sent: millions(self.sent(args.tool)? - before),
            written: millions(written),
        })
    }

    /// Returns the bytes in the registry, or those on the link to the device.
    fn sent(&self, tool: Tool) -> Result<u64> {
        match tool {
            Tool::Push => Ok(bytes_below(&self.cloud.path("registry"))),
            Tool::Sandbox => self.device.traffic().map(|(out, back)| out + back),
        }
    }

    /// Runs edge-app in the network namespace of the laptop's engine. Returns the bytes
    /// that it and its children wrote to file systems.
    fn edge_app(&self, args: &Args, command: &[&str]) -> Result<u64> {
        let report = self.path("written");
        let mut time = Root::system().command(find("time")?);
        time.args(["--format=%O", "--output"]).arg(&report);
        time.arg(find("nsenter")?);
        time.arg(format!("--net=/proc/{}/ns/net", self.laptop.pid()));
        time.arg("--")
            .arg(args.programs.canonicalize()?.join("edge-app"));
        time.args(command).current_dir(self.directory.path());
        time.env("DOCKER_HOST", self.laptop.engine());
        time.env("XDG_CACHE_HOME", self.path("cache"));
        time.env("NO_PROXY", "localhost");
        time.read()?;
        // GNU time counts in units of 512 bytes.
        let blocks = file::read_text(&report, 4096)?;
        let blocks: u64 = blocks
            .trim()
            .parse()
            .context("reading the output of time")?;
        Ok(blocks * 512)
    }
}

/// Returns the bytes of all files below a directory, which may be absent.
fn bytes_below(directory: &Path) -> u64 {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let size = |entry: fs::DirEntry| match entry.metadata() {
        Ok(data) if data.is_dir() => bytes_below(&entry.path()),
        Ok(data) => data.len(),
        Err(_) => 0,
    };
    entries.map(size).sum()
}
