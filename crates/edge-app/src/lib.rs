//! Replaces: the `edge-app.sh` script.
//! Reads: `edge-app.yaml` of the project, `app.yaml` of an app, docker's images.
//! Writes: the registry; asks `edge-docker` on devices, over the user's `ssh`.
//! Runs when: a developer types it.
//! Exits: 0 done, 1 failed, 2 wrong usage, 3 configuration, 4 registry, 5 device
//! unreachable, 6 refused by the device, 7 signature, 130 interrupted.

mod app;
mod aws;
mod config;
mod deploy;
mod docker;
mod layers;
mod list;
mod mapping;
mod mirror;
mod pack;
mod progress;
mod push;
mod sandbox;
mod send;
mod sign;
mod ssh;
mod sync;
mod text;
mod thin;
mod upload;
mod watch;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, Subcommand};
use edge_common::exit::Failure;

use app::App;
use config::Project;

/// Exit code: `edge-app.yaml` or `app.yaml` is absent or malformed.
pub const CONFIGURATION: u8 = 3;
/// Exit code: the registry, or AWS, refused or does not answer.
pub const REGISTRY: u8 = 4;
/// Exit code: ssh does not reach the device.
pub const UNREACHABLE: u8 = 5;
/// Exit code: the device refused.
pub const REFUSED: u8 = 6;
/// Exit code: a signature that cannot be made or does not verify.
pub const SIGNATURE: u8 = 7;
const INTERRUPTED: u8 = 130;

const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 failed, 2 wrong usage, 3 configuration, 4 registry,
5 device unreachable, 6 refused by the device, 7 signature, 130 interrupted.

Example: edge-app build hello && edge-app push hello &&
         edge-app deploy hello DEVICE";

/// From a laptop to the device: build, push, sign, deploy.
///
/// An app is a folder with a Dockerfile and an app.yaml; the project, the
/// folder above with an edge-app.yaml.
#[derive(Parser)]
#[command(version, max_term_width = 80, after_help = EXIT_CODES)]
pub struct Args {
    /// Folder of the project [default: the next with an edge-app.yaml]
    #[arg(long, global = true, value_name = "DIR")]
    project: Option<PathBuf>,
    #[command(subcommand)]
    verb: Verb,
}

/// An app's name and its version.
#[derive(clap::Args)]
struct Versioned {
    /// Name of the app
    app: String,
    /// Version [default: what git calls the app's state]
    #[arg(long)]
    version: Option<String>,
}

/// An app on a device.
#[derive(clap::Args)]
struct Placed {
    /// Name of the app
    app: String,
    /// Name from edge-app.yaml, or a host of your ssh configuration
    device: String,
}

#[derive(Subcommand)]
enum Verb {
    /// List the project's apps and their versions in the registry
    #[command(after_help = "Example: edge-app list")]
    List,
    /// Build an app's image with docker
    #[command(after_help = "Example: edge-app build hello --version v1")]
    Build(Versioned),
    /// Push an app's image to the registry and sign it
    ///
    /// What is signed states app, version, serial, grants and git's commit. An
    /// image of several platforms is signed whole and each by itself.
    #[command(after_help = "\
Examples: edge-app push hello --version v1
          edge-app push vpn --version v1 --from IMAGE@sha256:...")]
    Push {
        #[command(flatten)]
        app: Versioned,
        #[command(flatten)]
        options: push::Options,
    },
    /// Run a pushed version on a device
    #[command(after_help = "Example: edge-app deploy hello DEVICE --version v1")]
    Deploy {
        #[command(flatten)]
        at: Placed,
        /// Version [default: what git calls the app's state]
        #[arg(long)]
        version: Option<String>,
    },
    /// Build an app and run it unsigned on a development device
    ///
    /// Sends only the layers that the device lacks. What app.yaml maps with
    /// `sync` goes straight into the app's folder.
    #[command(after_help = "Example: edge-app sandbox --watch hello DEVICE")]
    Sandbox {
        #[command(flatten)]
        at: Placed,
        /// Go on: build, send and sync again whenever a file changes
        #[arg(short, long)]
        watch: bool,
    },
    /// Show what an app on a device printed
    #[command(after_help = "Example: edge-app logs -f hello DEVICE")]
    Logs {
        #[command(flatten)]
        at: Placed,
        /// Go on as it prints more
        #[arg(short, long)]
        follow: bool,
        /// Lines from the end to start with
        #[arg(short = 'n', long, value_name = "N")]
        tail: Option<u32>,
    },
    /// Stop an app on a device; it stays stopped
    #[command(after_help = "Example: edge-app stop hello DEVICE")]
    Stop(Placed),
    /// Remove an app's container from a device; its data stay
    #[command(after_help = "Example: edge-app remove hello DEVICE")]
    Remove(Placed),
    /// Check the signature of a pushed version
    #[command(after_help = "Example: edge-app verify hello --version v1")]
    Verify {
        /// Name of the app, or an image of the team's repository
        #[arg(value_name = "APP|IMAGE")]
        app: String,
        /// Version [default: what git calls the app's state]
        #[arg(long)]
        version: Option<String>,
    },
    /// Make a signing key (P-256, PKCS#8 PEM) and its public half FILE.pub
    #[command(after_help = "Example: edge-app keygen signing.key")]
    Keygen {
        /// Where to write the private key; never overwritten
        file: PathBuf,
    },
}

/// Does what the command line asks for.
///
/// # Errors
/// As the exit codes say.
pub fn run(args: Args) -> Result<()> {
    if let Verb::Keygen { file } = &args.verb {
        return sign::keygen(file);
    }
    let project = Project::find(args.project.as_deref())?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        // Dropping the work ends its processes and removes its files.
        tokio::select! {
            result = go(&project, args.verb) => result,
            _ = tokio::signal::ctrl_c() => Err(Failure::error(INTERRUPTED, "interrupted")),
        }
    })
}

async fn go(project: &Project, verb: Verb) -> Result<()> {
    let app = |name: &str| App::load(project, name);
    match verb {
        Verb::List => list::list(project).await,
        Verb::Build(v) => {
            let app = app(&v.app)?;
            let version = app.version(v.version.as_deref()).await?;
            let image = project.image(&app.name, &version).await?;
            docker::build(&app, &image.to_string(), &project.config.platform).await?;
            println!("{image}");
            Ok(())
        }
        Verb::Push { app: v, options } => {
            let app = app(&v.app)?;
            let version = app.version(v.version.as_deref()).await?;
            push::push(project, &app, &version, &options).await
        }
        Verb::Deploy { at, version } => {
            let app = app(&at.app)?;
            let version = app.version(version.as_deref()).await?;
            deploy::deploy(project, &app, &version, &at.device).await
        }
        Verb::Sandbox { at, watch } => sandbox::run(project, &at.app, &at.device, watch).await,
        Verb::Logs { at, follow, tail } => {
            deploy::logs(project, &at.app, &at.device, follow, tail).await
        }
        Verb::Stop(at) => deploy::stop(project, &at.app, &at.device).await,
        Verb::Remove(at) => deploy::remove(project, &at.app, &at.device).await,
        Verb::Verify { app, version } => {
            let image = push::named(project, &app, version.as_deref()).await?;
            push::verify(project, &image).await
        }
        Verb::Keygen { file } => sign::keygen(&file),
    }
}
