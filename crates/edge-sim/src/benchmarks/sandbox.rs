//! Benchmark of `edge-app sandbox` and of the earlier script: `docker save | gzip`,
//! ssh, `docker load`. Laptop and device are separate container engines on this
//! machine, with the real sshd, sudo rule and edge-docker between them. The link is
//! simulated by the command `relay` of edge-sim.

use std::fs;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use edge_common::command::CommandExt as _;
use edge_common::{Root, file};
use tempfile::TempDir;

use super::Args;
use crate::host::find;
use crate::namespaces::{Device, Link, Settings};
use crate::signals;

/// Number of times that a file is saved to measure its arrival on the device, per
/// link.
const SAVES: usize = 15;
const BASE: &str = "bench-base:latest";
const APP: &str = "name: hello\nports: ['8080:8080']\nvolumes: ['.:/data']\n";
const DOCKERFILE: &str = "\
FROM bench-base:latest
COPY hello /hello
COPY change /change
ENTRYPOINT [\"/hello\"]
STOPSIGNAL SIGKILL
";
/// Shell script that developers used before `edge-app sandbox`: builds an image,
/// sends it to the device and starts a container.
const EARLIER: &str = "\
set -e
DOCKER_BUILDKIT=0 docker build -q -t sandbox/hello:latest hello >/dev/null
docker save sandbox/hello:latest | gzip | ssh -F \"$1\" root@device docker load
ssh -F \"$1\" root@device 'docker rm -f hello >/dev/null 2>&1; docker run -d --name hello \
 -p 8080:8080 -v /data/sandbox/hello:/data sandbox/hello:latest'
";
const LINKS: [(&str, Link); 2] = [
    ("loopback", Link { rtt: 0, rate: 0 }),
    ("20 Mbit/s, 30 ms", Link { rtt: 30, rate: 20 }),
];

/// Runs the benchmark and prints two tables: for new containers and for saved
/// files.
pub(crate) fn run(args: &Args) -> Result<()> {
    signals::notice()?;
    let mut testbed = Testbed::new(args)?;
    println!(
        "An image of {} MB below a layer of {} kB that changes; {}.\n\
         Times are from the command to the new container running, build included.\n",
        args.base,
        args.change,
        testbed.engine()?
    );
    println!("| link | sent | earlier: MB | s | edge-app: MB | s | times faster |");
    println!("|---|---|--:|--:|--:|--:|--:|");
    for (name, link) in LINKS {
        testbed.device.set_link(link)?;
        let mut rows = [("the whole image", None, None), ("one change", None, None)];
        testbed.clear_device()?;
        rows[0].1 = Some(testbed.measure(Testbed::earlier)?);
        testbed.change()?;
        rows[1].1 = Some(testbed.measure(Testbed::earlier)?);
        testbed.clear_device()?;
        rows[0].2 = Some(testbed.measure(Testbed::ours)?);
        testbed.change()?;
        rows[1].2 = Some(testbed.measure(Testbed::ours)?);
        for (sent, earlier, ours) in rows {
            let (earlier, ours) = (
                earlier.context("a measurement is missing")?,
                ours.context("a measurement is missing")?,
            );
            println!(
                "| {name} | {sent} | {:.3} | {:.1} | {:.3} | {:.1} | {:.1} |",
                earlier.0,
                earlier.1,
                ours.0,
                ours.1,
                earlier.1 / ours.1
            );
        }
    }
    testbed.saved_files()
}

struct Testbed {
    directory: TempDir,
    programs: std::path::PathBuf,
    laptop: Device,
    device: Device,
    size: usize,
    changes: u64,
}

impl Testbed {
    fn new(args: &Args) -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("edge-bench-").tempdir()?;
        let programs = args
            .programs
            .canonicalize()
            .context("finding the programs")?;
        let edge_docker = programs.join("edge-docker");
        let start = |name: &str| {
            let settings = Settings {
                name,
                edge_docker: Some(&edge_docker),
                ..Settings::default()
            };
            let directory = directory.path().join(name);
            file::create_directory(&directory, 0o755)?;
            Device::start(&directory, &settings)
        };
        let (laptop, device) = (start("laptop")?, start("device")?);
        let mut testbed = Self {
            programs,
            laptop,
            device,
            directory,
            size: args.change as usize * 1000,
            changes: 0,
        };
        testbed.project()?;
        testbed.base(args.base)?;
        Ok(testbed)
    }

    fn project(&mut self) -> Result<()> {
        let app = self.directory.path().join("hello");
        file::create_directory(&app, 0o755)?;
        let put = |name: &str, text: &str| {
            file::write(&self.directory.path().join(name), text.as_bytes(), 0o644)
        };
        let ssh = self.device.ssh_config();
        put(
            "edge-app.yaml",
            &format!(
                "registry: registry.test/edge-ai\nplatform: linux/{}\ndevices:\n  device: {{ssh_config: {}}}\n",
                if cfg!(target_arch = "aarch64") {
                    "arm64"
                } else {
                    "amd64"
                },
                ssh.display()
            ),
        )?;
        put("hello/app.yaml", APP)?;
        file::create_directory(&app.join("web"), 0o755)?;
        put("hello/web/index.html", "version none")?;
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
        rustc.arg(app.join("hello")).arg(source).run()?;
        self.change()
    }

    /// Changes the file in the topmost layer to other random bytes, which cannot be
    /// compressed.
    fn change(&mut self) -> Result<()> {
        signals::check()?;
        self.changes += 1;
        let mut noise = Noise(self.changes);
        let content: Vec<_> = (0..self.size).map(|_| noise.byte()).collect();
        file::write(&self.directory.path().join("hello/change"), &content, 0o644)
    }

    /// Imports the base image of `millions` MB into the laptop's engine. Like
    /// programs, its files are compressed to about half of their size.
    fn base(&self, millions: u32) -> Result<()> {
        let mut import = self.docker(&["import", "-", BASE])?;
        let child = import.stdin(Stdio::piped()).stdout(Stdio::null()).spawn();
        let mut child = child.context("starting docker")?;
        let stdin = child.stdin.take().context("standard input")?;
        let mut builder = tar::Builder::new(BufWriter::new(stdin));
        let mut noise = Noise(77);
        for number in 0..millions {
            let content: Vec<_> = (0..1_000_000).map(|_| noise.byte() & 0x33).collect();
            let mut header = tar::Header::new_gnu();
            header.set_size(1_000_000);
            header.set_mode(0o644);
            builder.append_data(&mut header, format!("usr/lib/{number}"), &content[..])?;
        }
        builder.into_inner()?.flush()?;
        if !child.wait()?.success() {
            bail!("docker import failed: {}", self.laptop.log());
        }
        Ok(())
    }

    fn docker(&self, args: &[&str]) -> Result<std::process::Command> {
        let mut command = Root::system().command(find("docker")?);
        command.args(args).env("DOCKER_HOST", self.laptop.engine());
        Ok(command)
    }

    fn engine(&self) -> Result<String> {
        let format = "--format=docker {{.ServerVersion}}, {{.Driver}}, {{.NCPU}} processors";
        Ok(self.docker(&["info", format])?.read()?.trim().into())
    }

    /// Removes all containers and images from the device.
    fn clear_device(&self) -> Result<()> {
        let script =
            "docker ps -aq | xargs -r docker rm -f; docker images -q | xargs -r docker rmi -f";
        self.device.command("sh").args(["-c", script]).run()
    }

    /// Measures for each link the time between saving a file that `sync` maps and
    /// its arrival on the device, while `edge-app sandbox --watch` runs.
    fn saved_files(&mut self) -> Result<()> {
        println!("\n| link | a saved file is on the device after, ms (median) | best | worst |");
        println!("|---|--:|--:|--:|");
        let target = self.device.path("/data/sandbox/hello/www/index.html");
        let app = format!("{APP}sync: ['web:www']\n");
        let path = self.directory.path().join("hello/app.yaml");
        file::write(&path, app.as_bytes(), 0o644)?;
        for (name, link) in LINKS {
            self.device.set_link(link)?;
            let mut watching = self.edge_app(&["sandbox", "--watch", "hello", "device"]);
            let watching = watching.stdout(Stdio::null()).stderr(Stdio::piped());
            let mut watching = watching.spawn()?;
            let log = watching.stderr.take().context("standard error")?;
            let mut lines = BufReader::new(log).lines();
            let ready = lines.find(|l| !matches!(l, Ok(l) if !l.contains("watching hello")));
            std::thread::spawn(move || lines.for_each(drop));
            let times = match ready {
                Some(Ok(_)) => (0..SAVES)
                    .map(|number| self.save(number, &target))
                    .collect(),
                _ => bail!("edge-app sandbox --watch ended early"),
            };
            let mut interrupt = Root::system().command("/bin/kill");
            interrupt.args(["-INT", &watching.id().to_string()]).run()?;
            watching.wait()?;
            let times: Result<Vec<_>> = times;
            let mut times = times?;
            times.sort_unstable();
            let ms = |at: usize| times[at].as_secs_f64() * 1000.0;
            println!(
                "| {name} | {:.0} | {:.0} | {:.0} |",
                ms(times.len() / 2),
                ms(0),
                ms(times.len() - 1)
            );
        }
        Ok(())
    }

    fn save(&self, number: usize, target: &Path) -> Result<Duration> {
        signals::check()?;
        let text = format!("version {number} at {:?}", self.device.traffic()?);
        let source = self.directory.path().join("hello/web/index.html");
        let start = Instant::now();
        file::write(&source, text.as_bytes(), 0o644)?;
        while !fs::read_to_string(target).is_ok_and(|t| t == text) {
            if start.elapsed() > Duration::from_secs(20) {
                bail!("a saved file did not arrive within 20 s");
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(start.elapsed())
    }

    /// Runs `way`, the earlier script or edge-app. Returns the traffic in MB and
    /// the time in seconds.
    fn measure(&self, way: fn(&Self) -> Result<()>) -> Result<(f64, f64)> {
        signals::check()?;
        let (before, start) = (self.device.traffic()?, Instant::now());
        way(self)?;
        let seconds = start.elapsed().as_secs_f64();
        let after = self.device.traffic()?;
        let running = self
            .device
            .command("docker")
            .args(["ps", "--quiet"])
            .read()?;
        if running.lines().count() != 1 {
            bail!("the new container does not run");
        }
        #[expect(clippy::cast_precision_loss, reason = "rounded anyway")]
        let bytes = (after.0 + after.1 - before.0 - before.1) as f64;
        Ok((bytes / 1e6, seconds))
    }

    fn earlier(&self) -> Result<()> {
        let mut script = Root::system().command("/bin/sh");
        script
            .args(["-c", EARLIER, "earlier"])
            .arg(self.device.ssh_config());
        script
            .env("DOCKER_HOST", self.laptop.engine())
            .current_dir(self.directory.path());
        script.run()
    }

    fn ours(&self) -> Result<()> {
        self.edge_app(&["sandbox", "hello", "device"]).run()
    }

    fn edge_app(&self, args: &[&str]) -> std::process::Command {
        // The engine pushes to edge-app, so both are in one network namespace.
        let mut command = Root::system().command("/usr/bin/nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", self.laptop.pid()));
        command.arg("--").arg(self.programs.join("edge-app"));
        command.args(args).current_dir(self.directory.path());
        command.env("DOCKER_HOST", self.laptop.engine());
        command.env("XDG_CACHE_HOME", self.directory.path().join("cache"));
        command
    }
}

/// Pseudo-random bytes, the same in every run (xorshift64*).
struct Noise(u64);

impl Noise {
    fn byte(&mut self) -> u8 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 56) as u8
    }
}
