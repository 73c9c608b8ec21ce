//! Arguments of the command line. The doc comments are the help texts.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::cli::group::GroupCommand;
use crate::cli::network::NetworkCommand;
use crate::cli::os::OsCommand;
use crate::cli::output::{Formats, Output};
use crate::cli::release::{BundleOptions, ReleaseOptions};
use crate::cli::rollout::RolloutCommand;
use crate::cli::ticket::{TicketCommand, TicketOptions};
use crate::device::rollout::Limits;
use crate::device::targets::Targets;
use crate::project::init::Template;

const EXIT_CODES: &str = "\
Exit codes: 0 done, 1 failed, 2 wrong usage, 3 configuration, 4 registry,
5 device unreachable, 6 refused by the policy, 7 signature, 8 the new version
failed and the old one runs again, 9 the new version failed and nothing runs
in its place, 10 several devices with different results, 130 interrupted.

Example: edge-app build hello && edge-app push hello &&
         edge-app deploy hello DEVICE";

const DEPLOY: &str = "\
The device pulls the version, verifies its signature and starts it in place of
the old one. The device returns to the old version if the new one exits or is
not healthy within --timeout, or if the power fails meanwhile. It finishes by
itself if the connection breaks. Where the same version runs and works, nothing
changes; with --force it is started again, and the way back stays.

Example: edge-app deploy hello DEVICE --version v1
         edge-app deploy hello --group barn --jobs 2";

/// Build, push, sign and deploy apps from a laptop to devices.
///
/// An app is a directory with a Dockerfile and an app.yaml. A project is the
/// directory above it, with an edge-app.yaml.
#[derive(Parser)]
#[command(version, max_term_width = 80, after_help = EXIT_CODES)]
pub struct Args {
    /// Directory of the project [default: the nearest with an edge-app.yaml]
    #[arg(long, global = true, value_name = "DIR")]
    pub(crate) project: Option<PathBuf>,
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Name and version of an app.
#[derive(clap::Args)]
pub(crate) struct AppVersion {
    /// Name of the app
    pub(crate) app: String,
    /// Version [default: output of git describe]
    #[arg(long)]
    pub(crate) version: Option<String>,
}

/// App on a device.
#[derive(clap::Args)]
pub(crate) struct AppOnDevice {
    /// Name of the app
    pub(crate) app: String,
    /// Name from edge-app.yaml, or a host of your ssh configuration
    pub(crate) device: String,
}

/// App on devices, with limits for all.
#[derive(clap::Args)]
pub(crate) struct AppOnDevices {
    /// Name of the app
    pub(crate) app: String,
    #[command(flatten)]
    pub(crate) targets: Targets,
    #[command(flatten)]
    pub(crate) limits: Limits,
}

/// Options of `push`.
#[derive(clap::Args)]
pub(crate) struct PushOptions {
    /// Sign the grants of app.yaml without asking, except those in `root`
    #[arg(long)]
    pub(crate) yes: bool,
    /// Sign this grant of `root` in app.yaml, which gives the app root on devices,
    /// without asking
    #[arg(long, value_name = "NAME")]
    pub(crate) grant_root: Vec<String>,
    /// Sign with this PKCS#8 PEM file instead of the project's key
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
    /// Format of the signatures
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Formats,
    /// Copy this image from another repository by digest; docker is not needed
    #[arg(long, value_name = "IMAGE@DIGEST")]
    pub(crate) from: Option<String>,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// Devices of a deployment, with limits for all and a timeout for each.
#[derive(clap::Args)]
pub(crate) struct Rollout {
    #[command(flatten)]
    pub(crate) targets: Targets,
    #[command(flatten)]
    pub(crate) limits: Limits,
    /// Seconds within which the app must be healthy [default: 120]
    #[arg(long, value_name = "SECS", value_parser = clap::value_parser!(u32).range(1..=3600))]
    pub(crate) timeout: Option<u32>,
}

/// Commands, grouped by what must be loaded before they run.
#[derive(Subcommand)]
pub(crate) enum Command {
    /// Commands that load an app
    #[command(flatten)]
    App(AppCommand),
    /// Commands that load the project
    #[command(flatten)]
    Project(ProjectCommand),
    /// Commands that load neither
    #[command(flatten)]
    Other(OtherCommand),
}

/// Commands that load an app.
#[derive(Subcommand)]
pub(crate) enum AppCommand {
    /// Build an app's image with docker
    #[command(after_help = "Example: edge-app build hello --version v1")]
    Build(AppVersion),
    /// Push an app's image to the registry and sign it
    ///
    /// The signature states the app, its version, a release number, grants and
    /// the git commit. An image for several platforms is signed as a whole and
    /// for each platform.
    #[command(after_help = "\
Examples: edge-app push hello --version v1
          edge-app push vpn --version v1 --from IMAGE@sha256:...")]
    Push {
        #[command(flatten)]
        app: AppVersion,
        #[command(flatten)]
        options: PushOptions,
    },
    /// Verify the signature of a pushed version
    #[command(after_help = "Example: edge-app verify hello --version v1")]
    Verify {
        /// Name of the app, or an image in the project's repository
        #[arg(value_name = "APP|IMAGE")]
        app: String,
        /// Version [default: output of git describe]
        #[arg(long)]
        version: Option<String>,
    },
    /// Deploy a pushed version to devices; one that fails is rolled back
    #[command(after_help = DEPLOY)]
    Deploy {
        #[command(flatten)]
        app: AppVersion,
        #[command(flatten)]
        rollout: Rollout,
        /// Accept a release number below the highest one on the device
        #[arg(long)]
        allow_downgrade: bool,
        /// Start the version again where it runs already
        #[arg(long)]
        force: bool,
    },
    /// Check an app before it is pushed: app.yaml, refusals, warnings
    ///
    /// Needs neither a network nor a device. Says what a device would refuse,
    /// and warns of secrets, of state that is lost with the container and of
    /// programs that run as root. A warning alone is no failure: exit code 0.
    #[command(after_help = "Example: edge-app check hello --json")]
    Check {
        /// Name of the app
        app: String,
        /// Grants of the board (devices.json) [default: those of the image]
        #[arg(long, value_name = "FILE")]
        devices: Option<PathBuf>,
        #[command(flatten)]
        output: Output,
    },
    /// Show what a deployment would change: version, digest, options
    #[command(after_help = "Example: edge-app diff hello DEVICE --version v2")]
    Diff {
        #[command(flatten)]
        target: AppOnDevice,
        /// Version [default: output of git describe]
        #[arg(long)]
        version: Option<String>,
        #[command(flatten)]
        output: Output,
    },
    /// Build an app and run it unsigned on a development device
    ///
    /// Sends only the layers that the device lacks. Files that app.yaml lists
    /// under `sync` are copied into the app's data directory, without a build.
    #[command(after_help = "Example: edge-app sandbox --watch hello DEVICE")]
    Sandbox {
        #[command(flatten)]
        target: AppOnDevice,
        /// Build, send and sync again whenever a file changes
        #[arg(short, long)]
        watch: bool,
    },
}

/// Commands that load the project.
#[derive(Subcommand)]
pub(crate) enum ProjectCommand {
    /// Show apps, versions, digests, health and signers on devices
    #[command(after_help = "Example: edge-app status --json")]
    Status {
        #[command(flatten)]
        targets: Targets,
        #[command(flatten)]
        output: Output,
    },
    /// List versions in the registry, their signers and their devices
    #[command(after_help = "Example: edge-app list --json")]
    List(Output),
    /// Show the output of an app on a device
    #[command(after_help = "Example: edge-app logs -f hello DEVICE")]
    Logs {
        #[command(flatten)]
        target: AppOnDevice,
        /// Follow the output
        #[arg(short, long)]
        follow: bool,
        /// Start with this many lines from the end
        #[arg(short = 'n', long, value_name = "N")]
        tail: Option<u32>,
    },
    /// Return to the version before the current one
    #[command(after_help = "Example: edge-app rollback hello DEVICE")]
    Rollback {
        /// Name of the app
        app: String,
        #[command(flatten)]
        rollout: Rollout,
    },
    /// Devices of a group in AWS
    #[command(after_help = "Example: edge-app group sync barn")]
    Group {
        #[command(subcommand)]
        command: GroupCommand,
    },
    /// Bring a release set to a group of devices by AWS IoT Jobs
    ///
    /// First to canaries, then to the whole group. The state is in AWS alone, so
    /// any laptop and any CI job can go on. Devices verify the set by themselves.
    #[command(after_help = "\
Example: edge-app rollout start barn --canary 2 --soak 1h
         edge-app rollout continue barn && edge-app rollout status barn")]
    Rollout {
        #[command(subcommand)]
        command: RolloutCommand,
    },
    /// Check, show or set the network settings of a device
    #[command(after_help = "Example: edge-app network set DEVICE office.yaml")]
    Network {
        #[command(subcommand)]
        command: NetworkCommand,
    },
    /// Push, verify or list images of the operating system
    #[command(after_help = "Example: edge-app os list")]
    Os {
        #[command(subcommand)]
        command: OsCommand,
    },
    /// Permit more on one device, for one app and some minutes
    ///
    /// A break-glass ticket is signed with the engineer's key. What is created
    /// under it is removed when it ends.
    #[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
    #[command(after_help = "\
Example: edge-app ticket DEVICE --app camera --level debug --minutes 30 \\
           --reason \"the picture is dark\"")]
    Ticket {
        #[command(subcommand)]
        command: Option<TicketCommand>,
        /// Name from edge-app.yaml, or a host of your ssh configuration
        #[arg(required = true)]
        device: Option<String>,
        #[command(flatten)]
        options: Box<TicketOptions>,
    },
    /// Make, push and sign the release set of a group: what its devices should run
    ///
    /// Versions must be pushed. An app of the last set that is not in this one is
    /// removed from devices; its data stay.
    #[command(after_help = "\
Examples: edge-app release barn --yes
          edge-app release barn --sign 1795638227 --key other.key")]
    Release {
        /// Group of edge-app.yaml
        group: String,
        #[command(flatten)]
        options: ReleaseOptions,
    },
    /// Write the release set of a group and its images to a file
    ///
    /// For devices without a network: ssh DEVICE edge-docker set load - < FILE. The
    /// device verifies everything as if it came from the registry.
    #[command(after_help = "\
Examples: edge-app bundle barn -o barn.bundle
          edge-app bundle barn -o barn.bundle --since report.json")]
    Bundle {
        /// Group of edge-app.yaml
        group: String,
        #[command(flatten)]
        options: BundleOptions,
    },
    /// Sign a list of versions that may not start on any device, or may again
    #[command(after_help = "\
Examples: edge-app revoke hello-v1 --yes
          edge-app revoke --restore hello-v1
          edge-app revoke --sign 1795638227 --key other.key")]
    Revoke {
        /// Versions as APP-VERSION, or digests as sha256:HEX
        #[arg(value_name = "APP-VERSION|DIGEST")]
        images: Vec<String>,
        /// Let this version or digest start again; may be repeated
        #[arg(long, value_name = "APP-VERSION|DIGEST")]
        restore: Vec<String>,
        #[command(flatten)]
        options: ReleaseOptions,
    },
    /// Start an app that is stopped, on one or several devices
    #[command(after_help = "Example: edge-app start hello --group barn")]
    Start(AppOnDevices),
    /// Restart an app on one or several devices
    #[command(after_help = "Example: edge-app restart hello DEVICE")]
    Restart(AppOnDevices),
    /// Stop an app on one or several devices
    #[command(after_help = "Example: edge-app stop hello DEVICE")]
    Stop(AppOnDevices),
    /// Remove an app's containers from devices; its data are kept
    #[command(after_help = "Example: edge-app remove hello DEVICE")]
    Remove(AppOnDevices),
}

/// Commands that load neither an app nor the project.
#[derive(Subcommand)]
pub(crate) enum OtherCommand {
    /// Create the directory of an app, and edge-app.yaml if there is none
    #[command(after_help = "Example: edge-app init hello --template python")]
    Init {
        /// Name of the app: a-z, 0-9 and -
        name: String,
        /// Template of the app
        #[arg(long, value_enum, default_value_t = Template::Plain)]
        template: Template,
    },
    /// Check docker, the registry, the signing key and every device
    #[command(after_help = "Example: edge-app doctor")]
    Doctor(Output),
    /// Create a signing key (P-256, PKCS#8 PEM) and FILE.pub, its public key
    #[command(after_help = "Example: edge-app keygen signing.key")]
    Keygen {
        /// File of the private key; never overwritten
        file: PathBuf,
    },
    /// Print completions for a shell
    #[command(after_help = "Example: edge-app completions bash > \
        ~/.local/share/bash-completion/completions/edge-app")]
    Completions {
        /// Shell to complete in
        shell: clap_complete::Shell,
    },
    /// Write man pages
    #[command(after_help = "Example: edge-app man ~/.local/share/man/man1")]
    Man {
        /// Directory of the pages
        #[arg(value_name = "DIR")]
        directory: PathBuf,
    },
}
