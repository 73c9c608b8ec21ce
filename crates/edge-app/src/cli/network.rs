//! Arguments of `edge-app network`.

use std::path::PathBuf;

use clap::Subcommand;

/// Subcommands of `network`.
#[derive(Subcommand)]
pub(crate) enum NetworkCommand {
    /// Check a file of network settings, without a device
    #[command(after_help = "Example: edge-app network check office.yaml")]
    Check {
        /// File of network settings, YAML or JSON
        file: PathBuf,
    },
    /// Show the network settings of a device, without passwords
    #[command(after_help = "Example: edge-app network show DEVICE")]
    Show {
        /// Name from edge-app.yaml, or a host of your ssh configuration
        device: String,
    },
    /// Try network settings on a device, and keep them if it is reached
    ///
    /// The device returns to its earlier settings by itself if neither this
    /// command nor the cloud reaches it within two minutes, and at its next
    /// boot if the power fails meanwhile.
    #[command(after_help = "\
Example: edge-app network set DEVICE office.yaml
         edge-app network set DEVICE office.yaml --at 192.168.1.5")]
    Set {
        /// Name from edge-app.yaml, or a host of your ssh configuration
        device: String,
        /// File of network settings, YAML or JSON
        file: PathBuf,
        /// Host at which the device is with its new settings [default: as before]
        #[arg(long, value_name = "HOST")]
        at: Option<String>,
    },
}
