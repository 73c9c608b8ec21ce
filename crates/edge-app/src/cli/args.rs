//! The command line.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

use edge_signature::Format;

use crate::device::rollout::Limits;
use crate::device::targets::Targets;
use crate::project::init::Template;

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
/// An app is a directory with a Dockerfile and an app.yaml; the project, the
/// directory above with an edge-app.yaml.
#[derive(Parser)]
#[command(version, max_term_width = 80, after_help = EXIT_CODES)]
pub struct Args {
    /// Directory of the project [default: the next with an edge-app.yaml]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) project: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// An app's name and its version.
#[derive(clap::Args)]
pub(crate) struct Versioned {
    /// Name of the app
    pub(crate) app: String,
    /// Version [default: what git calls the app's state]
    #[arg(long)]
    pub(crate) version: Option<String>,
}

/// An app on a device.
#[derive(clap::Args)]
pub(crate) struct Placed {
    /// Name of the app
    pub(crate) app: String,
    /// Name from edge-app.yaml, or a host of your ssh configuration
    pub(crate) device: String,
}

/// How signatures are written down.
#[derive(Clone, Copy, Default, ValueEnum)]
pub(crate) enum Formats {
    /// Under a tag, as cosign 2 does: every verifier reads it
    #[default]
    V2,
    /// In a bundle that refers to the image, as cosign 3 does
    V3,
    /// Both; cosign then looks at the bundle only
    Both,
}

impl Formats {
    pub(crate) fn list(self) -> &'static [Format] {
        match self {
            Self::V2 => &[Format::V2],
            Self::V3 => &[Format::V3],
            Self::Both => &[Format::V2, Format::V3],
        }
    }
}

/// How to push.
#[derive(clap::Args)]
pub(crate) struct PushOptions {
    /// Sign the grants of app.yaml without asking
    #[arg(long)]
    pub(crate) yes: bool,
    /// Sign with this PKCS#8 PEM file instead of the project's key
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
    /// How to write the signatures down
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Formats,
    /// Take this image, by digest, from another repository; no docker needed
    #[arg(long, value_name = "IMAGE@DIGEST")]
    pub(crate) from: Option<String>,
}

/// Devices, how many at a time, and how long each may take.
#[derive(clap::Args)]
pub(crate) struct Fleet {
    #[command(flatten)]
    pub(crate) targets: Targets,
    #[command(flatten)]
    pub(crate) limits: Limits,
    /// Seconds until the app must work [default: 120]
    #[arg(long, value_name = "SECS", value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub(crate) timeout: Option<u32>,
}

/// For programs.
#[derive(clap::Args)]
pub(crate) struct Json {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// What is done, by what it needs.
#[derive(Subcommand)]
pub(crate) enum Verb {
    /// An app's directory
    #[command(flatten)]
    App(OfApp),
    /// The project
    #[command(flatten)]
    Project(InProject),
    /// Nothing
    #[command(flatten)]
    Alone(Alone),
}

/// What needs an app's directory.
#[derive(Subcommand)]
pub(crate) enum OfApp {
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
        options: PushOptions,
    },
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
    /// `sync` goes straight into the app's directory.
    #[command(after_help = "Example: edge-app sandbox --watch hello DEVICE")]
    Sandbox {
        #[command(flatten)]
        at: Placed,
        /// Go on: build, send and sync again whenever a file changes
        #[arg(short, long)]
        watch: bool,
    },
}

/// What needs a project.
#[derive(Subcommand)]
pub(crate) enum InProject {
    /// Show apps, versions, digests, health and signers on devices
    #[command(after_help = "Example: edge-app status --json")]
    Status {
        #[command(flatten)]
        targets: Targets,
        #[command(flatten)]
        json: Json,
    },
    /// List the apps' versions in the registry, their signers, where they run
    #[command(after_help = "Example: edge-app list --json")]
    List(Json),
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
    /// Go back to the version before the one that runs
    #[command(after_help = "Example: edge-app rollback hello DEVICE")]
    Rollback {
        /// Name of the app
        app: String,
        #[command(flatten)]
        fleet: Fleet,
    },
    /// Stop an app on a device; it stays stopped
    #[command(after_help = "Example: edge-app stop hello DEVICE")]
    Stop(Placed),
    /// Remove an app's container from a device; its data stay
    #[command(after_help = "Example: edge-app remove hello DEVICE")]
    Remove(Placed),
}

/// What needs neither.
#[derive(Subcommand)]
pub(crate) enum Alone {
    /// Write the directory of a new app, and edge-app.yaml if there is none
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
        directory: PathBuf,
    },
}
