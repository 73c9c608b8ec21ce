//! Temporary directories. An error says what they are for and how to repair it.

use std::path::Path;

use anyhow::{Context, Result};
use tempfile::TempDir;

/// Creates a directory for `purpose`.
pub(crate) fn directory(purpose: &str) -> Result<TempDir> {
    let created = tempfile::Builder::new().prefix("edge-app-").tempdir();
    created.with_context(|| advice("directory", purpose))
}

fn advice(kind: &str, purpose: &str) -> String {
    let place = std::env::temp_dir();
    let place: &Path = &place;
    format!(
        "{} takes no temporary {kind} for {purpose}: make room or set TMPDIR to another directory",
        place.display()
    )
}
