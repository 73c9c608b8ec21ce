//! Benchmark of MQTT clients: a connection with mutual TLS, one message of 2 kB with QoS 1,
//! its acknowledgement. All clients use the same mosquitto.

use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use edge_common::{Root, file};
use tempfile::TempDir;

use crate::cloud;
use crate::daemons::Daemons;
use crate::host::{find, free_port};
use crate::links::tcp::{self, Counts, TcpLink};
use crate::signals;

/// Delays of one direction of the link, in milliseconds.
const DELAYS: [u64; 2] = [0, 50];
/// Script that runs a client where some addresses of the broker are dead.
const ADDRESSES: &str = include_str!("mqtt_addresses.sh");
/// Names of those networks in the script and in the table.
const NETWORKS: [(&str, &str); 4] = [
    ("ipv6", "IPv6 only, docker0 has IPv4"),
    ("dead", "two dead addresses first"),
    ("silent", "no TLS at the first address"),
    ("flood", "a flood of TLS records"),
];

/// Broker with a directory of credentials.
struct Broker {
    directory: TempDir,
    port: u16,
    _daemons: Daemons,
}

/// Measurements of one run.
struct Run {
    seconds: f64,
    peak_kb: f64,
    bytes: f64,
}

/// Measures the clients in `programs`, `runs` times each, and prints two tables.
pub(crate) fn run(programs: &Path, clients: &[String], runs: usize) -> Result<()> {
    signals::notice()?;
    let broker = Broker::start()?;
    println!("medians of {runs} runs; from the start of the program's work to the PUBACK\n");
    println!("| client | s at 0 ms | s at 100 ms | bytes | peak MB | program kB | CPU ms |");
    println!("|---|--:|--:|--:|--:|--:|--:|");
    for client in clients {
        let program = programs.join(client);
        let mut seconds = Vec::new();
        let (mut bytes, mut peak) = (0.0, 0.0);
        for delay in DELAYS {
            let runs = (0..runs.max(1)).map(|_| broker.measure(&program, delay));
            let runs = runs.collect::<Result<Vec<_>>>()?;
            seconds.push(median(&runs, |r| r.seconds));
            bytes = median(&runs, |r| r.bytes);
            peak = median(&runs, |r| r.peak_kb);
        }
        println!(
            "| {client} | {:.3} | {:.3} | {bytes:.0} | {:.1} | {} | {:.1} |",
            seconds[0],
            seconds[1],
            peak / 1000.0,
            stripped(&program)? / 1000,
            broker.cpu(&program, runs)?
        );
    }
    println!("\n| network | {} |", clients.join(" | "));
    println!("|---|{}", "--:|".repeat(clients.len()));
    for (name, title) in NETWORKS {
        let results = clients.iter().map(|c| broker.on(name, &programs.join(c)));
        println!(
            "| {title} | {} |",
            results.collect::<Result<Vec<_>>>()?.join(" | ")
        );
    }
    Ok(())
}

fn median(runs: &[Run], of: fn(&Run) -> f64) -> f64 {
    let mut values: Vec<_> = runs.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Returns the size of a program without symbols, in bytes.
fn stripped(program: &Path) -> Result<u64> {
    let directory = tempfile::tempdir().context("creating a temporary directory")?;
    let copy = directory.path().join("stripped");
    let mut strip = Root::system().command(find("strip")?);
    let status = strip.arg("-o").arg(&copy).arg(program).status();
    ensure!(status.context("running strip")?.success(), "strip failed");
    Ok(copy.metadata().context("reading its size")?.len())
}

impl Broker {
    fn start() -> Result<Self> {
        let directory = tempfile::tempdir().context("creating a temporary directory")?;
        let path = directory.path();
        cloud::create(path, &[])?;
        let ca = file::read(&path.join("ca.pem"), 64 * 1024)?;
        let bundle = path.join("root/etc/edge-ai/ca");
        file::create_directory(&bundle, 0o755)?;
        file::write(&bundle.join("ca.pem"), &ca, 0o644)?;
        let port = free_port()?;
        let configuration = configure(path, port, "127.0.0.1")?;
        let mut daemons = Daemons::new(path);
        let configuration = configuration.display().to_string();
        daemons.start("mosquitto", &["-c", &configuration])?;
        daemons.wait_for(port)?;
        Ok(Self {
            directory,
            port,
            _daemons: daemons,
        })
    }

    /// Runs a client through a link with this delay of each direction.
    fn measure(&self, program: &Path, delay: u64) -> Result<Run> {
        signals::check()?;
        let counts = Arc::new(Counts::default());
        let link = TcpLink {
            delay: Duration::from_millis(delay),
            rate: 0,
        };
        let port = tcp::start(0, self.port, link, Arc::clone(&counts))?;
        let mut time = Root::system().command(find("time")?);
        time.args(["-f", "%M"])
            .arg(program)
            .arg(self.directory.path());
        let output = time.args(["localhost", &port.to_string()]).output();
        let output = output.context("running GNU time")?;
        let bytes = counts.bytes.load(Ordering::Relaxed);
        Ok(Run {
            seconds: number(&output, &output.stdout)?,
            peak_kb: number(&output, &output.stderr)?,
            bytes: f64::from(u32::try_from(bytes).unwrap_or(u32::MAX)),
        })
    }

    /// Returns the processor time of a run in milliseconds, as the average of several:
    /// GNU time counts in hundredths of a second.
    fn cpu(&self, program: &Path, runs: usize) -> Result<f64> {
        let (mut total, count) = (0.0, 2 * runs.max(1));
        let looped =
            "for i in $(seq $1); do \"$2\" \"$3\" localhost \"$4\" >/dev/null || exit 1; done";
        for (program, sign) in [(program, 1.0), (Path::new("/bin/true"), -1.0)] {
            let mut time = Root::system().command(find("time")?);
            time.args(["-f", "%U %S", "sh", "-c", looped, "sh"]);
            time.arg(count.to_string())
                .arg(program)
                .arg(self.directory.path());
            let output = time.arg(self.port.to_string()).output();
            let output = output.context("running GNU time")?;
            let text = String::from_utf8_lossy(&output.stderr).into_owned();
            let seconds = text.split_whitespace().map(str::parse::<f64>);
            let seconds: f64 = seconds
                .collect::<Result<Vec<_>, _>>()
                .context(text)?
                .iter()
                .sum();
            total += sign * seconds * 1000.0;
        }
        Ok(total / f64::from(u32::try_from(count).unwrap_or(u32::MAX)))
    }

    /// Runs a client in a network of its own, with a broker of which not all addresses
    /// answer. Returns its seconds, or that it does not connect.
    fn on(&self, network: &str, program: &Path) -> Result<String> {
        signals::check()?;
        for (name, address) in [("loopback", "::1"), ("unique", "fd00::1")] {
            let path = configure(self.directory.path(), 8883, address)?;
            let renamed = path.with_file_name(format!("{name}.conf"));
            std::fs::rename(path, renamed).context("renaming a file")?;
        }
        let mut inside = Root::system().command(find("unshare")?);
        inside.args(["--map-root-user", "--net", "--mount", "--pid", "--fork"]);
        inside.args(["--kill-child", "sh", "-c", ADDRESSES, "sh", network]);
        inside.arg(self.directory.path()).arg(program);
        let output = inside
            .stdin(Stdio::null())
            .output()
            .context("running unshare")?;
        let text = String::from_utf8_lossy(&output.stdout);
        let last = text.lines().last().unwrap_or_default();
        ensure!(
            !last.is_empty(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        Ok(last.to_string())
    }
}

/// Writes the configuration of a mosquitto that listens on `address`.
fn configure(directory: &Path, port: u16, address: &str) -> Result<PathBuf> {
    let at = directory.display();
    let text = format!(
        "user root\nallow_anonymous false\npersistence false\nlog_dest stderr\n\
         set_tcp_nodelay true\nlistener {port} {address}\ncafile {at}/clients.pem\n\
         certfile {at}/server.crt\nkeyfile {at}/server.key\nrequire_certificate true\n\
         use_identity_as_username true\n"
    );
    let path = directory.join("mosquitto.conf");
    file::write(&path, text.as_bytes(), 0o600)?;
    Ok(path)
}

/// Parses the only number of an output.
fn number(output: &Output, bytes: &[u8]) -> Result<f64> {
    let text = String::from_utf8_lossy(bytes);
    let number = text.trim().parse().ok().filter(|_| output.status.success());
    number.with_context(|| {
        let errors = String::from_utf8_lossy(&output.stderr);
        format!("a client ended with {}: {text} {errors}", output.status)
    })
}
