//! Benchmarks of single device tools and of edge-app.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use crate::shell;

/// Benchmarks of `cargo xtask bench` that measure a single tool.
#[derive(clap::Subcommand)]
pub(crate) enum Table {
    /// Peak memory of each device tool
    Memory,
    /// Time of `edge-app sandbox`, compared with `docker save | gzip | ssh docker load`
    Sandbox {
        /// Size of the unchanged layers in MB
        #[arg(long, default_value_t = 300)]
        base: u32,
        /// Size of the changed layer in kB
        #[arg(long, default_value_t = 200)]
        change: u32,
        /// Only measure edge-app, with unchanged layers of these sizes in MB
        #[arg(long, value_name = "MB,…")]
        bases: Option<String>,
    },
    /// Time of `edge-app push`, bytes sent and disk used, with unchanged layers of several
    /// sizes
    Push {
        /// Sizes of the unchanged layers in MB
        #[arg(long, value_name = "MB,…", default_value = "300,2000,6000")]
        bases: String,
    },
    /// Time of `edge-app deploy` to many devices, one after another and in parallel
    Devices {
        /// Number of devices
        #[arg(long, default_value_t = 20)]
        devices: u32,
        /// Simulated duration of a pull, and also of a deployment, in seconds
        #[arg(long, default_value_t = 5)]
        seconds: u32,
    },
}

/// Memory limit of each device tool in kB, which the documentation promises.
const MAX_MEMORY_KB: u64 = 12_000;
/// Builds the release programs, runs one benchmark and prints its table.
pub(super) fn run(table: &Table) -> Result<()> {
    shell::run(shell::cargo().args(["build", "--quiet", "--release"]))?;
    match table {
        Table::Memory => memory(),
        Table::Sandbox {
            bases: Some(bases), ..
        } => apps(
            "changes",
            &[("tool", "sandbox".into()), ("bases", bases.clone())],
        ),
        Table::Push { bases } => apps(
            "changes",
            &[("tool", "push".into()), ("bases", bases.clone())],
        ),
        Table::Sandbox { base, change, .. } => {
            let options = [("base", base.to_string()), ("change", change.to_string())];
            apps("sandbox", &options)
        }
        Table::Devices { devices, seconds } => {
            let options = [
                ("devices", devices.to_string()),
                ("seconds", seconds.to_string()),
            ];
            apps("devices", &options)
        }
    }
}

/// Prints a table of edge-app, which `edge-sim bench` measures.
fn apps(table: &str, options: &[(&str, String)]) -> Result<()> {
    let mut cargo = shell::cargo();
    cargo.args(["build", "--quiet", "--release"]);
    shell::run(cargo.args(["--package=edge-app", "--package=edge-sim"]))?;
    let release = shell::target()?.join("release");
    let mut sim = shell::command(release.join("edge-sim"));
    sim.args(["bench", table, "--programs"]).arg(&release);
    sim.args(
        options
            .iter()
            .map(|(name, value)| format!("--{name}={value}")),
    );
    shell::run(&mut sim)
}

/// Temporary root directory with the libraries of this machine, in which programs run by
/// chroot with separate `/data`, `/run` and `/dev`.
pub(super) struct TestRoot(tempfile::TempDir);

impl TestRoot {
    pub(super) fn new() -> Result<Self> {
        let directory = tempfile::tempdir()?;
        for name in [
            "usr",
            "lib",
            "lib64",
            "bin",
            "sbin",
            "proc",
            "dev",
            "run",
            "tmp",
            "etc/edge-ai/ca",
            "etc/edge-ai/container-config",
            "data/services",
            "data/log",
            "opt",
            "n",
            "e",
            "l",
        ] {
            fs::create_dir_all(directory.path().join(name))?;
        }
        Ok(Self(directory))
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// Runs a shell script by chroot in this root, in a new mount namespace, and returns
    /// its standard error.
    fn run(&self, script: &str) -> Result<String> {
        let at = self.0.path().display().to_string();
        let programs = shell::target()?.join("release");
        let entry = format!(
            "set -e; for d in usr lib lib64 bin sbin; do [ ! -d /$d ] || mount --rbind /$d {at}/$d; done; \
             mount --bind {} {at}/opt; mount -t tmpfs t {at}/n; exec chroot {at} /bin/sh -c '{script}'",
            programs.display()
        );
        let mut unshare = shell::command("unshare");
        let root = shell::read(shell::command("id").arg("-u"))?.trim() == "0";
        unshare.args(if root {
            &["--mount"][..]
        } else {
            &["--map-root-user", "--mount"]
        });
        let output = shell::output(unshare.args(["/bin/sh", "-c", &entry]))?;
        let messages = String::from_utf8_lossy(&output.stderr).into_owned();
        ensure!(
            output.status.success() || !messages.is_empty(),
            "unshare: {}",
            output.status
        );
        Ok(messages)
    }

    /// Runs a command several times and returns the shortest times and the highest peak
    /// memory.
    pub(super) fn measure(&self, command: &str, runs: usize) -> Result<Figures> {
        let timed = format!("/usr/bin/time -f \"measured %e %U %S %M\" {command} >/dev/null");
        let mut best = Figures::MAX;
        for _ in 0..runs {
            let messages = self.run(&timed)?;
            let line = messages.lines().find_map(|l| l.strip_prefix("measured "));
            let line = line.with_context(|| format!("measuring {command}: {messages}"))?;
            let numbers: Vec<f64> = line.split(' ').map_while(|n| n.parse().ok()).collect();
            let [wall, user, system, _] = numbers[..] else {
                bail!("measuring {command}: {line}");
            };
            best.improve(&Figures {
                wall: wall * 1000.0,
                cpu: (user + system) * 1000.0,
                peak: line.rsplit(' ').next().unwrap_or_default().parse()?,
            });
        }
        Ok(best)
    }
}

/// Elapsed time (`wall`) and processor time (`cpu`) in milliseconds, and peak memory in
/// kB.
#[derive(Clone)]
pub(super) struct Figures {
    pub(super) wall: f64,
    pub(super) cpu: f64,
    pub(super) peak: u64,
}

impl Figures {
    /// Figures that any measurement improves.
    pub(super) const MAX: Self = Self {
        wall: f64::MAX,
        cpu: f64::MAX,
        peak: 0,
    };

    /// Takes the shorter times and the higher peak of both.
    pub(super) fn improve(&mut self, other: &Self) {
        self.wall = self.wall.min(other.wall);
        self.cpu = self.cpu.min(other.cpu);
        self.peak = self.peak.max(other.peak);
    }
}

const UNIT: &str = "[Unit]\nAfter=docker.service\nWants=docker.service\n\
    [Service]\nExecStart=/usr/bin/edge-docker run --rm --name app registry/edge-ai@sha256:00\n\
    Restart=always\nRestartSec=10\n[Install]\nWantedBy=multi-user.target\n";

/// Writes units of apps to a directory.
pub(super) fn units(directory: &Path, count: usize) -> Result<()> {
    for number in 0..count {
        let path = directory.join(format!("app-{number}.service"));
        #[expect(clippy::disallowed_methods, reason = "a temporary file")]
        fs::write(&path, UNIT).context("writing a unit")?;
    }
    Ok(())
}

/// Prints the peak memory of each program for its most demanding work that needs no
/// network.
fn memory() -> Result<()> {
    println!("{:<34} {:>9} {:>9}", "program", "peak kB", "limit kB");
    let root = TestRoot::new()?;
    units(&root.path("data/services"), 10_000)?;
    let disk = fs::File::create(root.path("tmp/disk"))?;
    disk.set_len(8 << 30)?;
    for (name, command) in [
        (
            "edge-partition, formatting 8 GB",
            "/opt/edge-partition --device /tmp/disk --timeout 0",
        ),
        (
            "edge-partition, checking",
            "/opt/edge-partition --device /tmp/disk --timeout 0",
        ),
        (
            "edge-generator, 10,000 units",
            "/opt/edge-generator /n /e /l",
        ),
        ("edge-provision status", "/opt/edge-provision status"),
        (
            "edge-docker, a refusal",
            "/opt/edge-docker run --privileged x",
        ),
        ("edge-vpn status", "/opt/edge-vpn status"),
        ("edge-heartbeat --once", "/opt/edge-heartbeat --once"),
    ] {
        let peak = root.measure(command, 1)?.peak;
        let verdict = if peak <= MAX_MEMORY_KB {
            ""
        } else {
            "  over the limit"
        };
        println!("{name:<34} {peak:>9} {MAX_MEMORY_KB:>9}{verdict}");
    }
    println!("With a client: the test a_step_takes_little_memory of edge-vpn.");
    println!("With a broker: the last line of `cargo xtask campaign heartbeat`.");
    Ok(())
}
