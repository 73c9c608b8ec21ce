//! Arguments of `edge-app os`.

use std::path::PathBuf;

use clap::Subcommand;

/// Subcommands of `os`.
#[derive(Subcommand)]
pub(crate) enum OsCommand {
    /// Sign an OS image, and push it with its bundle
    ///
    /// The signature in the bundle, by which RAUC verifies it on the device, is replaced
    /// by one of the OS key: FILE is the bundle that `edge-os install` takes afterwards.
    #[command(after_help = "\
Example: edge-app os push os.raucb --version 2026.11 --number 1795638227 \\
           --compatible jetson-orin-nano-devkit-nvme --l4t 36.5.0 --out os.dsse.json")]
    Push(Box<OsPush>),
    /// Verify an OS image in the registry, and print what is signed
    #[command(after_help = "Example: edge-app os verify 2026.11")]
    Verify {
        /// Version
        version: String,
        /// Verify with this PKCS#8 PEM file instead of the project's os_key
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
        /// Write the signed description to this file, for `edge-os install`
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// List the OS images in the registry
    #[command(after_help = "Example: edge-app os list --json")]
    List {
        /// Print JSON
        #[arg(long)]
        json: bool,
        /// Verify with this PKCS#8 PEM file instead of the project's os_key
        #[arg(long, value_name = "FILE")]
        key: Option<PathBuf>,
    },
}

/// Description of an OS image that is pushed.
#[derive(clap::Args)]
pub(crate) struct OsPush {
    /// Bundle of RAUC
    #[arg(value_name = "FILE")]
    pub(crate) bundle: PathBuf,
    /// Version for people
    #[arg(long)]
    pub(crate) version: String,
    /// Release number, as /etc/edge-ai/os.json of the image states it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) number: u64,
    /// Machine for which the image was built
    #[arg(long, value_name = "MACHINE")]
    pub(crate) compatible: String,
    /// Version of NVIDIA's firmware that the image needs
    #[arg(long, value_name = "VERSION")]
    pub(crate) l4t: String,
    /// Size of the root file system in bytes [default: that in the bundle]
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1..))]
    pub(crate) size: Option<u64>,
    /// SHA-256 that RAUC's manifest must have, as `rauc info` prints it
    #[arg(long, value_name = "HEX")]
    pub(crate) manifest_hash: Option<String>,
    /// Version of the formats on /data that the image writes
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(crate) data_format: u32,
    /// Oldest version of these formats that can read them [default: the same]
    #[arg(long, value_name = "N")]
    pub(crate) read_by_data_format: Option<u32>,
    /// Sign with this PKCS#8 PEM file instead of the project's os_key
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
    /// Write the signed description to this file, for `edge-os install`
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
}
