//! Generator of `edge-tools-crates.inc`, the list of crates in the Yocto layer, from
//! `Cargo.lock`.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::PathBuf;

use anyhow::{Context, Result};

use super::{Findings, layer};
use crate::shell;

fn file() -> PathBuf {
    layer().join("recipes-edge/edge-tools/edge-tools-crates.inc")
}

/// Writes `edge-tools-crates.inc`.
pub(super) fn write() -> Result<()> {
    let mut out = fs::File::create(file()).context("writing the list of crates")?;
    out.write_all(generate()?.as_bytes())
        .context("writing the list of crates")
}

/// Compares `edge-tools-crates.inc` with `Cargo.lock`.
pub(super) fn check() -> Result<Findings> {
    if fs::read_to_string(file()).unwrap_or_default() == generate()? {
        return Ok(Vec::new());
    }
    Ok(vec![
        "the list differs from Cargo.lock: run `cargo xtask yocto` and commit".into(),
    ])
}

fn generate() -> Result<String> {
    let lock = shell::repository().join("Cargo.lock");
    let text = fs::read_to_string(&lock).context("reading Cargo.lock")?;
    list(&text)
}

/// Returns the text of the list: a `crate://` URI and a checksum for each package that
/// comes from a registry.
fn list(lock: &str) -> Result<String> {
    let mut uris = String::new();
    let mut sums = String::new();
    for package in lock.split("[[package]]").skip(1) {
        let value = |key: &str| {
            let line = package
                .lines()
                .find_map(|l| l.strip_prefix(&format!("{key} = \"")));
            line.and_then(|l| l.strip_suffix('"'))
        };
        let name = value("name").context("a package without a name")?;
        let Some(source) = value("source") else {
            continue;
        };
        if !source.starts_with("registry+") {
            anyhow::bail!("{name} comes from {source}: only a registry can be listed");
        }
        let version = value("version").with_context(|| format!("{name} has no version"))?;
        let sum = value("checksum").with_context(|| format!("{name} has no checksum"))?;
        writeln!(uris, "    crate://crates.io/{name}/{version} \\")?;
        writeln!(sums, "SRC_URI[{name}-{version}.sha256sum] = \"{sum}\"")?;
    }
    Ok(format!(
        "# Generated from Cargo.lock by `cargo xtask yocto`: do not edit.\n\n\
         SRC_URI += \"\\\n{uris}\"\n\n{sums}"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCK: &str = "version = 4\n\n[[package]]\nname = \"ours\"\nversion = \"0.1.0\"\n\n\
        [[package]]\nname = \"a\"\nversion = \"1.2.3\"\n\
        source = \"registry+https://github.com/rust-lang/crates.io-index\"\nchecksum = \"00ff\"\n";

    #[test]
    fn lists_what_a_registry_has_and_not_what_is_ours() {
        let list = list(LOCK).unwrap();
        assert!(list.contains("    crate://crates.io/a/1.2.3 \\\n\"\n"));
        assert!(list.contains("SRC_URI[a-1.2.3.sha256sum] = \"00ff\"\n"));
        assert!(!list.contains("ours"));
    }

    #[test]
    fn refuses_what_bitbake_could_not_fetch() {
        let git = LOCK.replace("registry+", "git+");
        assert!(list(&git).unwrap_err().to_string().contains("a comes from"));
        let bare = LOCK.replace("checksum", "sum");
        assert!(list(&bare).is_err());
    }
}
