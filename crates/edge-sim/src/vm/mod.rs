//! Test VM: a virtual device with the real units and programs, a read-only root
//! file system and an NVMe disk of 16 partitions.

pub(crate) mod base;
pub(crate) mod contents;
mod disk;
pub(crate) mod entry;
mod image_files;
mod machine;

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Subcommand;
use edge_common::command::CommandExt as _;
use edge_common::{Root, file, log, time};
use serde::{Deserialize, Serialize};

use crate::cloud;
use crate::host::{find, free_port};
use crate::signals;
use contents::{Contents, Endpoints};

/// Commands of `edge-sim vm`.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Build the base system that every test VM starts from, unless it is in the
    /// cache
    Base,
    /// Build the disk of a test VM, or replace the root file system on it
    Build {
        /// Directory of the test VM's state
        #[arg(long)]
        dir: PathBuf,
        /// Directory of the local cloud to which the test VM connects
        #[arg(long)]
        cloud: PathBuf,
        /// Directory of the built programs of a device
        #[arg(long, value_name = "DIR", default_value = "target/release")]
        bin_dir: PathBuf,
        /// Top directory of this repository
        #[arg(long, value_name = "DIR", default_value = ".")]
        source: PathBuf,
    },
    /// Boot the test VM and wait until it accepts SSH connections
    Up {
        /// Directory of the test VM's state
        #[arg(long)]
        dir: PathBuf,
        /// Time of its clock at power-on, in UTC, for example 1970-01-01T00:00:00; without
        /// it, the time of this machine
        #[arg(long, value_name = "TIME", value_parser = clock)]
        clock: Option<String>,
    },
    /// Open a shell in the test VM, or run a command in it
    Ssh {
        /// Directory of the test VM's state
        #[arg(long)]
        dir: PathBuf,
        /// Log in as root instead of `edge`
        #[arg(long)]
        root: bool,
        /// Command to run, with its arguments
        #[arg(trailing_var_arg = true)]
        args: Vec<String>,
    },
    /// Power off the test VM
    Stop {
        /// Directory of the test VM's state
        #[arg(long)]
        dir: PathBuf,
        /// Cut the power instead of shutting down
        #[arg(long)]
        kill: bool,
    },
    /// Empty the data partition of the test VM, as on a device from the factory
    Reset {
        /// Directory of the test VM's state
        #[arg(long)]
        dir: PathBuf,
    },
    /// Print the files of a test VM beyond the base system as JSON: paths, modes,
    /// owners, sources
    Contents {
        /// Top directory of this repository
        #[arg(long, value_name = "DIR", default_value = ".")]
        source: PathBuf,
    },
    /// Print serial number, thing name and ssh configuration of the test VM, and
    /// whether it runs
    Status {
        /// Directory of the test VM's state
        #[arg(long)]
        dir: PathBuf,
    },
}

/// Serial number, thing name and path of the ssh configuration of a test VM, stored
/// in `vm.json`.
#[derive(Serialize, Deserialize)]
struct Names {
    serial: String,
    thing_name: String,
    ssh_config: PathBuf,
}

/// Runs a command of `edge-sim vm`.
pub(crate) fn run(command: Command) -> Result<()> {
    match command {
        Command::Base => base::get().map(drop),
        Command::Build {
            dir,
            cloud,
            bin_dir,
            source,
        } => build(&dir, &cloud, &bin_dir, &source),
        Command::Up { dir, clock } => up(&dir, clock.as_deref()),
        Command::Ssh { dir, root, args } => ssh(&dir, root, &args),
        Command::Stop { dir, kill } => machine::stop(&dir, kill),
        Command::Reset { dir } => reset(&dir),
        Command::Contents { source } => {
            println!("{:#}", contents::list(&source)?);
            Ok(())
        }
        Command::Status { dir } => status(&dir),
    }
}

fn build(dir: &Path, cloud: &Path, programs: &Path, source: &Path) -> Result<()> {
    file::create_directory(dir, 0o700)?;
    let dir = &fs::canonicalize(dir).with_context(|| format!("finding {}", dir.display()))?;
    stopped(dir)?;
    let names = load(dir).or_else(|_| new(dir))?;
    cloud::allow(cloud, &names.serial, false)?;
    let key = file::read_text(&dir.join("id.pub"), 4096)?;
    let contents = Contents {
        source,
        programs,
        cloud: &Endpoints::read(cloud)?,
        serial: &names.serial,
        public_key: key.trim(),
    };
    let base = base::get()?;
    disk::write(&dir.join("disk.img"), &base, &contents.entries(&base)?)
}

/// Chooses a random serial number, creates an SSH key and writes `vm.json`.
fn new(dir: &Path) -> Result<Names> {
    let mut random = [0; 16];
    openssl::rand::rand_bytes(&mut random).context("choosing a serial number")?;
    let serial = edge_common::hex::encode(random);
    let key = dir.join("id");
    if !key.exists() {
        let mut keygen = Root::system().command(find("ssh-keygen")?);
        keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", "vm", "-f"]);
        keygen.arg(&key).run()?;
    }
    let names = Names {
        thing_name: format!("edge-ai-{serial}"),
        serial,
        ssh_config: dir.join("ssh_config"),
    };
    let text = serde_json::to_vec_pretty(&names)?;
    file::write(&dir.join("vm.json"), &text, 0o600)?;
    Ok(names)
}

fn load(dir: &Path) -> Result<Names> {
    let text = file::read(&dir.join("vm.json"), 4096)
        .context("no test VM in this directory: run edge-sim vm build")?;
    serde_json::from_slice(&text).context("parsing vm.json")
}

fn stopped(dir: &Path) -> Result<()> {
    if machine::running(dir) {
        bail!(
            "the test VM runs: stop it by edge-sim vm stop --dir {}",
            dir.display()
        );
    }
    Ok(())
}

/// Checks a time without a zone, as QEMU takes it.
fn clock(text: &str) -> Result<String, String> {
    let form = text.len() == 19 && text.as_bytes()[10] == b'T';
    let form = form && time::parse(&format!("{text}Z")).is_some();
    match form {
        true => Ok(text.into()),
        false => Err("not a time: write it as 1970-01-01T00:00:00".into()),
    }
}

fn up(dir: &Path, clock: Option<&str>) -> Result<()> {
    let dir = &fs::canonicalize(dir).with_context(|| format!("finding {}", dir.display()))?;
    let names = load(dir)?;
    if machine::running(dir) {
        log::info("already up");
        return status(dir);
    }
    signals::notice()?;
    let port = free_port()?;
    let at = dir.display();
    let config = format!(
        "Host vm vm-root twin twin-root\n  HostName 127.0.0.1\n  Port {port}\n  IdentityFile {at}/id\n  IdentitiesOnly yes\n  \
         HostKeyAlias vm\n  UserKnownHostsFile {at}/known_hosts\n  StrictHostKeyChecking accept-new\n  LogLevel ERROR\n\
         Host vm twin\n  User edge\nHost vm-root twin-root\n  User root\n"
    );
    file::write(&names.ssh_config, config.as_bytes(), 0o600)?;
    machine::start(dir, &base::get()?, port, clock)?;
    status(dir)
}

fn ssh(dir: &Path, root: bool, args: &[String]) -> Result<()> {
    let names = load(dir)?;
    if !machine::running(dir) {
        bail!(
            "the test VM does not run: start it by edge-sim vm up --dir {}",
            dir.display()
        );
    }
    let error = Root::system()
        .command(find("ssh")?)
        .arg("-F")
        .arg(&names.ssh_config)
        .arg(if root { "vm-root" } else { "vm" })
        .args((!args.is_empty()).then_some("--"))
        .args(args)
        .exec();
    Err(error).context("starting ssh")
}

fn reset(dir: &Path) -> Result<()> {
    let names = load(dir)?;
    stopped(dir)?;
    disk::reset(&dir.join("disk.img"))?;
    log::info(format_args!(
        "emptied; if it had an identity, run edge-sim cloud allow --again --dir CLOUD {}",
        names.serial
    ));
    match fs::remove_file(dir.join("known_hosts")) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).context("removing known_hosts")
        }
        _ => Ok(()),
    }
}

fn status(dir: &Path) -> Result<()> {
    let names = load(dir)?;
    println!("serial      {}", names.serial);
    println!("thing_name  {}", names.thing_name);
    println!("ssh_config  {}", names.ssh_config.display());
    let state = if machine::running(dir) { "up" } else { "down" };
    println!("state       {state}");
    Ok(())
}
