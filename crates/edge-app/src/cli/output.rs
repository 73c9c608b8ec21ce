//! Arguments that several commands have: formats of the output and of signatures.

use clap::ValueEnum;
use edge_signature::Format;

/// Format of the output.
#[derive(clap::Args)]
pub(crate) struct Output {
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// Format in which signatures are stored.
#[derive(Clone, Copy, Default, ValueEnum)]
pub(crate) enum Formats {
    /// Under a tag, as cosign 2 does; every verifier reads it
    #[default]
    V2,
    /// In a bundle that refers to the image, as cosign 3 does
    V3,
    /// Both; cosign then reads the bundle only
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
