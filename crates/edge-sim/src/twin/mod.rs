//! The device twin: a virtual machine with the real units and programs, a
//! read-only root, and an NVMe disk with 16 partitions.

mod base;
mod contents;
mod disk;
mod machine;

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Subcommand;
use edge_common::command::CommandExt as _;
use edge_common::{Root, file, log};
use serde::{Deserialize, Serialize};

use crate::cloud;
use crate::process::{self, find, free_port};
use contents::{Cloud, Contents};

/// What can be done with it.
#[derive(Subcommand)]
pub enum Verb {
    /// Make its disk, or renew the root file system on it
    Build {
        /// Directory of its state
        #[arg(long)]
        dir: PathBuf,
        /// Directory of the stand-in cloud that it will belong to
        #[arg(long)]
        cloud: PathBuf,
        /// Directory of the device programs
        #[arg(long, value_name = "DIR", default_value = "target/release")]
        bin_dir: PathBuf,
        /// Top directory of this repository
        #[arg(long, value_name = "DIR", default_value = ".")]
        source: PathBuf,
    },
    /// Boot it and wait until SSH answers
    Up {
        /// Directory of its state
        #[arg(long)]
        dir: PathBuf,
    },
    /// Open a shell in it, or run a command there
    Ssh {
        /// Directory of its state
        #[arg(long)]
        dir: PathBuf,
        /// As root instead of the user `edge`
        #[arg(long)]
        root: bool,
        /// Command and its words
        #[arg(trailing_var_arg = true)]
        words: Vec<String>,
    },
    /// Power it off
    Stop {
        /// Directory of its state
        #[arg(long)]
        dir: PathBuf,
        /// Cut the power instead
        #[arg(long)]
        kill: bool,
    },
    /// Empty its data partition: as it leaves the factory
    Reset {
        /// Directory of its state
        #[arg(long)]
        dir: PathBuf,
    },
    /// Print as JSON what of ours it holds: paths, modes, owners, sources
    Contents {
        /// Top directory of this repository
        #[arg(long, value_name = "DIR", default_value = ".")]
        source: PathBuf,
    },
    /// Print its names and whether it runs
    Status {
        /// Directory of its state
        #[arg(long)]
        dir: PathBuf,
    },
}

/// What is known of a twin, in `twin.json`.
#[derive(Serialize, Deserialize)]
struct Twin {
    serial: String,
    thing_name: String,
    ssh_config: PathBuf,
}

/// Does it.
///
/// # Errors
/// Whatever fails.
pub fn run(verb: Verb) -> Result<()> {
    match verb {
        Verb::Build {
            dir,
            cloud,
            bin_dir,
            source,
        } => build(&dir, &cloud, &bin_dir, &source),
        Verb::Up { dir } => up(&dir),
        Verb::Ssh { dir, root, words } => ssh(&dir, root, &words),
        Verb::Stop { dir, kill } => machine::stop(&dir, kill),
        Verb::Reset { dir } => reset(&dir),
        Verb::Contents { source } => {
            println!("{:#}", contents::list(&source)?);
            Ok(())
        }
        Verb::Status { dir } => status(&dir),
    }
}

fn build(dir: &Path, cloud: &Path, programs: &Path, source: &Path) -> Result<()> {
    file::create_directory(dir, 0o700)?;
    let dir = &fs::canonicalize(dir).with_context(|| format!("finding {}", dir.display()))?;
    stopped(dir)?;
    let twin = load(dir).or_else(|_| new(dir))?;
    cloud::allow(cloud, &twin.serial, false)?;
    let key = file::read_text(&dir.join("id.pub"), 4096)?;
    let contents = Contents {
        source,
        programs,
        cloud: &Cloud::read(cloud)?,
        serial: &twin.serial,
        public_key: key.trim(),
    };
    let base = base::get()?;
    disk::make(&dir.join("disk.img"), &base, &contents.entries(&base)?)
}

/// A serial number and an SSH key of its own.
fn new(dir: &Path) -> Result<Twin> {
    let mut random = [0; 16];
    openssl::rand::rand_bytes(&mut random).context("making a serial number")?;
    let serial: String = random.iter().map(|b| format!("{b:02x}")).collect();
    let key = dir.join("id");
    if !key.exists() {
        let mut keygen = Root::system().command(find("ssh-keygen")?);
        keygen.args(["-q", "-t", "ed25519", "-N", "", "-C", "twin", "-f"]);
        keygen.arg(&key).run()?;
    }
    let twin = Twin {
        thing_name: format!("edge-ai-{serial}"),
        serial,
        ssh_config: dir.join("ssh_config"),
    };
    let text = serde_json::to_vec_pretty(&twin)?;
    file::write(&dir.join("twin.json"), &text, 0o600)?;
    Ok(twin)
}

fn load(dir: &Path) -> Result<Twin> {
    let text = file::read(&dir.join("twin.json"), 4096)
        .context("there is no twin: edge-sim twin build")?;
    serde_json::from_slice(&text).context("parsing twin.json")
}

fn stopped(dir: &Path) -> Result<()> {
    if machine::running(dir) {
        bail!("the twin runs: edge-sim twin stop --dir {}", dir.display());
    }
    Ok(())
}

fn up(dir: &Path) -> Result<()> {
    let dir = &fs::canonicalize(dir).with_context(|| format!("finding {}", dir.display()))?;
    let twin = load(dir)?;
    if machine::running(dir) {
        log::info("already up");
        return status(dir);
    }
    process::notice_signals()?;
    let port = free_port()?;
    let at = dir.display();
    let config = format!(
        "Host twin twin-root\n  HostName 127.0.0.1\n  Port {port}\n  IdentityFile {at}/id\n  IdentitiesOnly yes\n  \
         HostKeyAlias twin\n  UserKnownHostsFile {at}/known_hosts\n  StrictHostKeyChecking accept-new\n  LogLevel ERROR\n\
         Host twin\n  User edge\nHost twin-root\n  User root\n"
    );
    file::write(&twin.ssh_config, config.as_bytes(), 0o600)?;
    machine::start(dir, &base::get()?, port)?;
    status(dir)
}

fn ssh(dir: &Path, root: bool, words: &[String]) -> Result<()> {
    let twin = load(dir)?;
    if !machine::running(dir) {
        bail!(
            "the twin does not run: edge-sim twin up --dir {}",
            dir.display()
        );
    }
    let error = Root::system()
        .command(find("ssh")?)
        .arg("-F")
        .arg(&twin.ssh_config)
        .arg(if root { "twin-root" } else { "twin" })
        .args((!words.is_empty()).then_some("--"))
        .args(words)
        .exec();
    Err(error).context("starting ssh")
}

fn reset(dir: &Path) -> Result<()> {
    let twin = load(dir)?;
    stopped(dir)?;
    disk::reset(&dir.join("disk.img"))?;
    log::info(format_args!(
        "emptied; if it had an identity: edge-sim cloud allow --again --dir CLOUD {}",
        twin.serial
    ));
    match fs::remove_file(dir.join("known_hosts")) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).context("removing known_hosts")
        }
        _ => Ok(()),
    }
}

fn status(dir: &Path) -> Result<()> {
    let twin = load(dir)?;
    println!("serial      {}", twin.serial);
    println!("thing_name  {}", twin.thing_name);
    println!("ssh_config  {}", twin.ssh_config.display());
    let state = if machine::running(dir) { "up" } else { "down" };
    println!("state       {state}");
    Ok(())
}
