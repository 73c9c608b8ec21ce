//! Checks of the dependencies: permitted crates and licences, their number, and the
//! compiler version that they need.

mod deny;
mod rust_version;

use std::collections::BTreeSet;

use anyhow::{Context, Result};

use crate::shell;

pub(crate) use deny::{advisories, deny};
pub(crate) use rust_version::{Args as RustVersionArgs, check as check_rust_version, rust_version};

/// Name and version of a package, as `cargo tree` prints them.
type Package = (String, String);

/// Returns all packages that are compiled for a crate of the workspace, with the features
/// that are active when the crate is built alone. `edges` selects types of dependencies,
/// for example `normal,build`.
fn closure(package: &str, edges: &str) -> Result<BTreeSet<Package>> {
    let mut tree = shell::cargo();
    tree.args(["tree", "--locked", "--quiet", "--package", package]);
    let list = shell::read(tree.args(["--edges", edges, "--prefix", "none", "--no-dedupe"]))?;
    list.lines().filter(|l| !l.is_empty()).map(named).collect()
}

/// Parses a line of `cargo tree`, for example `serde v1.0.0 (proc-macro)`.
fn named(line: &str) -> Result<Package> {
    let mut parts = line.split(' ');
    let package = parts
        .next()
        .zip(parts.next().and_then(|v| v.strip_prefix('v')));
    let (name, version) = package.with_context(|| format!("reading {line:?} of cargo tree"))?;
    Ok((name.into(), version.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_lines_of_cargo_tree() {
        let package = |name: &str, version: &str| (name.to_string(), version.to_string());
        assert_eq!(named("serde v1.0.2").unwrap(), package("serde", "1.0.2"));
        let line = "edge-common v0.1.0 (/src/crates/edge-common) (*)";
        assert_eq!(named(line).unwrap(), package("edge-common", "0.1.0"));
        assert!(named("warning: x").is_err());
    }
}
