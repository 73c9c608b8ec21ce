//! Replaces: the `edge-app.sh` script.
//! Reads: `edge-app.yaml` of the project, `app.yaml` of an app, docker's images.
//! Writes: the registry; asks `edge-docker` on devices, over the user's `ssh`.
//! Runs when: a developer types it.
//! Exits: 0 done, 1 failed, 2 wrong usage, 3 configuration, 4 registry, 5 device
//! unreachable, 6 refused by the device, 7 signature, 8 switched back, 9 not
//! running, 10 some of several devices failed, 130 interrupted.

mod app;
mod aws;
mod config;
mod deploy;
mod diff;
mod docker;
mod doctor;
mod fleet;
mod init;
mod layers;
mod list;
mod mapping;
mod mirror;
mod pack;
mod pages;
mod progress;
mod push;
mod sandbox;
mod send;
mod sign;
mod ssh;
mod status;
mod sync;
mod table;
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
use fleet::{Limits, Targets};
use init::Template;

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
/// Exit code: the new version does not work; the old one is back.
pub const SWITCHED_BACK: u8 = 8;
/// Exit code: the new version does not work and nothing is in its place.
pub const NOT_RUNNING: u8 = 9;
/// Exit code: of several devices some failed.
pub const PARTIAL: u8 = 10;
const INTERRUPTED: u8 = 130;

const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 failed, 2 wrong usage, 3 configuration, 4 registry,
5 device unreachable, 6 refused by the device, 7 signature, 8 the new version
does not work and the old one is back, 9 it does not work and nothing runs in
its place, 10 some of several devices failed, 130 interrupted.

Example: edge-app build hello && edge-app push hello &&
         edge-app deploy hello DEVICE";

const DEPLOY: &str = "\
The device pulls the version and verifies its signature, then starts it in the
place of the old one. If it ends, is not healthy within --timeout, or the
connection or the power is cut meanwhile, the device goes back to the old one.

Example: edge-app deploy hello DEVICE --version v1
         edge-app deploy hello --group barn --jobs 2";

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

/// Devices, how many at a time, and how long each may take.
#[derive(clap::Args)]
struct Fleet {
    #[command(flatten)]
    targets: Targets,
    #[command(flatten)]
    limits: Limits,
    /// Seconds until the app must work [default: 120]
    #[arg(long, value_name = "SECS", value_parser = clap::value_parser!(u32).range(1..=3600))]
    timeout: Option<u32>,
}

/// For programs.
#[derive(clap::Args)]
struct Json {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Subcommand)]
enum Verb {
    /// Write the folder of a new app, and edge-app.yaml if there is none
    #[command(after_help = "Example: edge-app init hello --template python")]
    Init {
        /// Name of the app: a-z, 0-9 and -
        name: String,
        /// What to begin with
        #[arg(long, value_enum, default_value_t = Template::Plain)]
        template: Template,
    },
    /// Check what the other commands need, from docker to every device
    #[command(after_help = "Example: edge-app doctor")]
    Doctor(Json),
    /// List the apps' versions in the registry, their signers, where they run
    #[command(after_help = "Example: edge-app list --json")]
    List(Json),
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
    /// Run a pushed version on devices; one that does not work is undone
    #[command(after_help = DEPLOY)]
    Deploy {
        #[command(flatten)]
        app: Versioned,
        #[command(flatten)]
        fleet: Fleet,
        /// Take a version that was signed before the newest one there
        #[arg(long)]
        allow_downgrade: bool,
    },
    /// Go back to the version before the one that runs
    #[command(after_help = "Example: edge-app rollback hello DEVICE")]
    Rollback {
        /// Name of the app
        app: String,
        #[command(flatten)]
        fleet: Fleet,
    },
    /// Show apps, versions, digests, health and signers on devices
    #[command(after_help = "Example: edge-app status --json")]
    Status {
        #[command(flatten)]
        targets: Targets,
        #[command(flatten)]
        json: Json,
    },
    /// Show what a deploy would change: version, digest, options
    #[command(after_help = "Example: edge-app diff hello DEVICE --version v2")]
    Diff {
        #[command(flatten)]
        at: Placed,
        /// Version [default: what git calls the app's state]
        #[arg(long)]
        version: Option<String>,
        #[command(flatten)]
        json: Json,
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
    /// Print completions for a shell
    #[command(after_help = "Example: edge-app completions bash > \
        ~/.local/share/bash-completion/completions/edge-app")]
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Write man pages
    #[command(after_help = "Example: edge-app man ~/.local/share/man/man1")]
    Man {
        /// Where to
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
}

/// Does what the command line asks for.
///
/// # Errors
/// As the exit codes say.
pub fn run(args: Args) -> Result<()> {
    let project = args.project.as_deref();
    match &args.verb {
        Verb::Keygen { file } => return sign::keygen(file),
        Verb::Completions { shell } => return pages::completions(*shell),
        Verb::Man { folder } => return pages::man(folder),
        Verb::Init { name, template } => return init::init(project, name, *template),
        _ => {}
    }
    let project = Project::find(project);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        // Dropping the work ends its processes and removes its files.
        tokio::select! {
            result = go(project, args.verb) => result,
            _ = tokio::signal::ctrl_c() => Err(Failure::error(INTERRUPTED, "interrupted")),
        }
    })
}

async fn go(project: Result<Project>, verb: Verb) -> Result<()> {
    if let Verb::Doctor(json) = verb {
        return doctor::doctor(project, json.json).await;
    }
    let project = &project?;
    match verb {
        Verb::List(json) => list::list(project, json.json).await,
        Verb::Status { targets, json } => {
            status::status(project, &targets.or_all(project)?, json.json).await
        }
        Verb::Logs { at, follow, tail } => {
            deploy::logs(project, &at.app, &at.device, follow, tail).await
        }
        Verb::Stop(at) => deploy::stop(project, &at.app, &at.device).await,
        Verb::Remove(at) => deploy::remove(project, &at.app, &at.device).await,
        Verb::Rollback { app, fleet } => {
            let names = fleet.targets.names(project)?;
            deploy::rollback(project, &app, &names, &fleet.limits, fleet.timeout).await
        }
        other => with_app(project, other).await,
    }
}

/// What needs the app's folder.
async fn with_app(project: &Project, verb: Verb) -> Result<()> {
    let app = |name: &str| App::load(project, name);
    match verb {
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
        Verb::Deploy {
            app: v,
            fleet,
            allow_downgrade,
        } => {
            let app = app(&v.app)?;
            let version = app.version(v.version.as_deref()).await?;
            let how = deploy::How {
                timeout: fleet.timeout,
                allow_downgrade,
            };
            let names = fleet.targets.names(project)?;
            deploy::deploy(project, &app, &version, &names, &fleet.limits, how).await
        }
        Verb::Diff { at, version, json } => {
            let app = app(&at.app)?;
            let version = app.version(version.as_deref()).await?;
            diff::diff(project, &app, &version, &at.device, json.json).await
        }
        Verb::Sandbox { at, watch } => sandbox::run(project, &at.app, &at.device, watch).await,
        Verb::Verify { app, version } => {
            let image = push::named(project, &app, version.as_deref()).await?;
            push::verify(project, &image).await
        }
        _ => unreachable!("done above"),
    }
}
