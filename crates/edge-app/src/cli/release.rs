//! Arguments of `edge-app release` and `revoke`.

use std::path::PathBuf;

use crate::cli::output::{Formats, Output};

/// Options of a bundle.
#[derive(clap::Args)]
pub(crate) struct BundleOptions {
    /// File that is written
    #[arg(short = 'o', long = "output", value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Omit layers that every device of this report has: the output of edge-app status
    /// --json
    #[arg(long, value_name = "REPORT")]
    pub(crate) since: Option<PathBuf>,
    /// Number of the release set instead of the last one's
    #[arg(long, value_name = "NUMBER")]
    pub(crate) number: Option<u64>,
    /// Accept sets of this key (PKCS#8 PEM file) instead of the project's set_key
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// Options of a release set.
#[derive(clap::Args)]
pub(crate) struct ReleaseOptions {
    /// Add the signature of this key to the set with this number, and make none
    #[arg(long, value_name = "NUMBER")]
    pub(crate) sign: Option<u64>,
    /// Days within which devices take the set
    #[arg(long, value_name = "N", default_value_t = 30,
        value_parser = clap::value_parser!(u32).range(1..=730))]
    pub(crate) days: u32,
    /// Sign without asking
    #[arg(long)]
    pub(crate) yes: bool,
    /// Sign with this PKCS#8 PEM file instead of the project's set_key
    #[arg(long, value_name = "FILE")]
    pub(crate) key: Option<PathBuf>,
    /// Format of the signature
    #[arg(long, value_enum, default_value_t)]
    pub(crate) format: Formats,
    #[command(flatten)]
    pub(crate) output: Output,
}
