//! To be filled by its owner.

use anyhow::Result;
use clap::Subcommand;

/// What can be done with it.
#[derive(Subcommand)]
pub enum Verb {
    /// Brings it up
    Up,
}

/// Does it.
///
/// # Errors
/// Whatever fails.
pub fn run(_verb: Verb) -> Result<()> {
    Ok(())
}
