//! Command line of edge-os.

use std::path::PathBuf;

use clap::{Parser, Subcommand, ValueEnum};

use crate::variables::Stage;

/// Installs an OS into the other slot, keeps it only if the device stays healthy, and
/// says why it came back.
#[derive(Parser)]
#[command(
    version,
    max_term_width = 80,
    after_help = "\
An update is written to the slot that does not run, tried at the next start, and
committed when the device is as healthy as before. Otherwise the earlier slot
starts again, and `edge-os status` says why, with the evidence.

Exit codes: 0 done, 1 failed, 2 wrong usage,
3 refused: the firmware cannot change the slot,
4 refused: an update is under way, or there is none to act on,
5 refused: the image is not for this device,
6 refused: the device is in no condition for an update,
7 refused: the bundle is not the signed one, or cannot be read in parts,
77 only root may read the firmware's variables

Example: edge-os check os.dsse.json --bundle /media/usb/os.raucb"
)]
pub struct Args {
    /// Command.
    #[command(subcommand)]
    pub command: Command,
}

/// Command of edge-os.
#[derive(Subcommand)]
pub enum Command {
    /// Print slot, version, phase of the newest update, and the reason if it came back
    #[command(after_help = "Example: edge-os status --json")]
    Status {
        /// Print one JSON object
        #[arg(long)]
        json: bool,
    },
    /// Print all reasons for which an update would be refused, and write nothing to a slot
    #[command(after_help = "Example: edge-os check os.dsse.json --bundle os.raucb")]
    Check(Image),
    /// Write an OS to the other slot and restart into it
    #[command(after_help = "Example: edge-os install os.dsse.json --bundle os.raucb")]
    Install {
        #[command(flatten)]
        image: Image,
        /// Do not restart: the next restart, whenever it is, starts the new slot
        #[arg(long)]
        no_restart: bool,
    },
    /// Take back an update that waits or is on trial, or return to the earlier OS
    #[command(after_help = "Example: edge-os rollback")]
    Rollback,
    /// Note that the start of the system has reached a stage (units)
    #[command(after_help = "Example: edge-os mark data")]
    Mark {
        /// Stage
        #[arg(value_enum)]
        stage: StageName,
    },
    /// Decide what this start means for an update, and run its gate (edge-os.service)
    #[command(after_help = "Example: edge-os settle")]
    Settle,
    /// Leave a slot on trial whose gate has not begun in time (edge-os-deadline.timer)
    #[command(after_help = "Example: edge-os deadline")]
    Deadline,
}

/// Image of a command.
#[derive(clap::Args)]
pub struct Image {
    /// Signed description of the image, as edge-app os push writes it
    #[arg(value_name = "FILE")]
    pub description: Option<PathBuf>,
    /// Bundle in a file [default: streamed from the registry of the image]
    #[arg(long, value_name = "PATH", requires = "description")]
    pub bundle: Option<PathBuf>,
    /// User name of the registry, whose password comes by --password-stdin
    #[arg(long, value_name = "NAME", requires_all = ["description", "password_stdin"], conflicts_with = "bundle")]
    pub username: Option<String>,
    /// Read the password of the registry from standard input, one line
    #[arg(long, requires = "username")]
    pub password_stdin: bool,
    /// Accept an image whose formats on /data the earlier OS cannot read
    #[arg(long)]
    pub one_way: bool,
}

/// Stage on the command line.
#[derive(Clone, Copy, ValueEnum)]
pub enum StageName {
    /// The initial RAM disk runs; takes an attempt
    Initrd,
    /// The root file system is mounted
    Root,
    /// systemd has started services
    System,
    /// /data is mounted
    Data,
}

impl StageName {
    /// Returns the stage.
    pub const fn stage(self) -> Stage {
        match self {
            Self::Initrd => Stage::Initrd,
            Self::Root => Stage::Root,
            Self::System => Stage::System,
            Self::Data => Stage::Data,
        }
    }
}
