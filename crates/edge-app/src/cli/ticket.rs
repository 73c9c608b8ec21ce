//! Arguments of `edge-app ticket`.

use std::path::PathBuf;

use clap::{Subcommand, ValueEnum};
use edge_docker_policy::break_glass::TicketLevel;

/// Content of a ticket, and what is done with it.
#[derive(clap::Args)]
pub(crate) struct TicketOptions {
    /// App that the ticket covers, or * for all
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) app: String,
    /// Level that the ticket raises to
    #[arg(long, value_enum, default_value_t)]
    pub(crate) level: TicketLevels,
    /// Minutes that the ticket lasts, at most 480
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=480))]
    pub(crate) minutes: u32,
    /// Reason, for the ledger and the shadow of the device
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) reason: String,
    /// Person who asks for the ticket [default: $USER]
    #[arg(long, value_name = "NAME")]
    pub(crate) who: Option<String>,
    /// Hours within which a device takes the ticket
    #[arg(long, value_name = "N", default_value_t = 24,
        value_parser = clap::value_parser!(u32).range(1..=720))]
    pub(crate) within_hours: u32,
    /// Thing name of the device [default: as the device says]
    #[arg(long, value_name = "NAME")]
    pub(crate) thing: Option<String>,
    /// Sign with this PKCS#8 PEM file instead of the project's engineer_key
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
    /// Write the ticket to this file instead of handing it over
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}

/// Level of a ticket.
#[derive(Clone, Copy, Default, ValueEnum)]
pub(crate) enum TicketLevels {
    /// Run, stop and remove what was signed
    Operate,
    /// Programs and options of your choice
    #[default]
    Debug,
}

impl From<TicketLevels> for TicketLevel {
    fn from(level: TicketLevels) -> Self {
        match level {
            TicketLevels::Operate => Self::Operate,
            TicketLevels::Debug => Self::Debug,
        }
    }
}

/// Subcommands of `ticket`.
#[derive(Subcommand)]
pub(crate) enum TicketCommand {
    /// Write an unsigned ticket to --out, for a key on another machine
    Make {
        #[command(flatten)]
        options: Box<TicketOptions>,
    },
    /// Sign a ticket that `make` has written
    Sign {
        /// Unsigned ticket
        file: PathBuf,
        /// File of the signed ticket
        #[arg(long, value_name = "FILE")]
        out: PathBuf,
        /// Sign with this PKCS#8 PEM file instead of the project's engineer_key
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
    },
    /// Hand a signed ticket to a device
    Send {
        /// Name from edge-app.yaml, or a host of your ssh configuration
        device: String,
        /// Signed ticket
        file: PathBuf,
    },
    /// Show the ticket in effect on a device
    Status {
        /// Name from edge-app.yaml, or a host of your ssh configuration
        device: String,
    },
    /// End the ticket on a device
    End {
        /// Name from edge-app.yaml, or a host of your ssh configuration
        device: String,
    },
}
