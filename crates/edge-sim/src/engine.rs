//! Container engine for builds on a machine without one, or whose own engine the user may
//! not use.
//!
//! The engine runs in a network and a mount namespace of its own: an engine in the host's
//! network namespace changes the bridge `docker0` and the packet filter of the engine that
//! is there. Its only way out is slirp4netns, which needs neither an interface nor a rule
//! on the host.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Subcommand;
use edge_common::{Root, file, log};

use crate::daemons::{self, Daemons};
use crate::host::find;
use crate::signals;

/// Script that prepares the namespaces and becomes dockerd: `$1` is the state directory,
/// the other arguments are dockerd's command line.
const PREPARE: &str = include_str!("engine.sh");
/// Contents of the engine's `/etc/resolv.conf`: the DNS forwarder of slirp4netns.
const RESOLV_CONF: &str = "nameserver 10.0.2.3\n";
/// Network interface of slirp4netns.
const UPLINK: &str = "uplink0";

/// Commands of `edge-sim engine`.
#[derive(Subcommand)]
pub enum Command {
    /// Start the engine and print the value of DOCKER_HOST
    Up {
        /// Directory of the engine's state
        #[arg(long)]
        dir: PathBuf,
    },
    /// Stop the engine
    Down {
        /// Directory of the engine's state
        #[arg(long)]
        dir: PathBuf,
        /// Also remove the directory of the state, with all images
        #[arg(long)]
        purge: bool,
    },
}

/// Runs a command of `edge-sim engine`. If `up` fails, no daemon stays running.
pub(crate) fn run(command: Command) -> Result<()> {
    match command {
        Command::Up { dir } => up(&dir),
        Command::Down { dir, purge } => down(&dir, purge),
    }
}

fn up(dir: &Path) -> Result<()> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "a container engine needs root: start docker on this machine, or run this as root"
    );
    file::create_directory(dir, 0o700)?;
    let dir = &fs::canonicalize(dir).with_context(|| format!("finding {}", dir.display()))?;
    let socket = dir.join("docker.sock");
    if !daemons::running(dir) {
        signals::notice()?;
        start(dir, &socket)?;
    }
    println!("unix://{}", socket.display());
    Ok(())
}

fn start(dir: &Path, socket: &Path) -> Result<()> {
    file::write(&dir.join("resolv.conf"), RESOLV_CONF.as_bytes(), 0o644)?;
    let mut daemons = Daemons::new(dir);
    let mut engine = Root::system().command(find("unshare")?);
    engine.args(["--net", "--mount", "--", "/bin/sh", "-euc", PREPARE]);
    engine.arg("engine").arg(dir).arg(find("dockerd")?);
    engine.arg(format!("--host=unix://{}", socket.display()));
    for (option, name) in [
        ("--data-root", "images"),
        ("--exec-root", "run"),
        ("--pidfile", "dockerd.pid"),
    ] {
        engine.arg(option).arg(dir.join(name));
    }
    // containerd writes its stacks there when the engine gives it up.
    engine.env("TMPDIR", dir);
    daemons.spawn("dockerd", &mut engine)?;
    let pid = daemons.last_pid().context("starting dockerd")?;
    let listens = || UnixStream::connect(socket).is_ok();
    daemons.wait_until("dockerd does not listen", listens)?;
    // The socket shows that the process has entered its namespaces.
    if !Path::new("/dev/net/tun").exists() {
        log::warn("/dev/net/tun is missing: the engine has no network, so load base images");
        return daemons.keep();
    }
    let mut uplink = Root::system().command(find("slirp4netns")?);
    uplink.args(["--configure", "--mtu=65520", "--disable-host-loopback"]);
    uplink.arg(pid.to_string()).arg(UPLINK);
    daemons.spawn("slirp4netns", &mut uplink)?;
    let routes = format!("/proc/{pid}/net/route");
    let routed = || fs::read_to_string(&routes).is_ok_and(|r| r.contains(UPLINK));
    daemons.wait_until("slirp4netns adds no route", routed)?;
    daemons.keep()
}

fn down(dir: &Path, purge: bool) -> Result<()> {
    daemons::stop(dir)?;
    if purge && dir.exists() {
        fs::remove_dir_all(dir).with_context(|| format!("removing {}", dir.display()))?;
    }
    log::info("engine stopped");
    Ok(())
}
