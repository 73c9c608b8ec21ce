//! Arguments of `edge-app group`.

use clap::Subcommand;

use crate::cli::rollout::{Consent, Group};

/// Subcommands of `group`.
#[derive(Subcommand)]
pub(crate) enum GroupCommand {
    /// Make the thing group in AWS equal to a group of edge-app.yaml
    ///
    /// Shows which devices join and which leave, asks, and creates the group if
    /// there is none. Rollouts reach the devices of the thing group.
    #[command(after_help = "Example: edge-app group sync barn")]
    Sync {
        #[command(flatten)]
        group: Group,
        #[command(flatten)]
        consent: Consent,
    },
}
