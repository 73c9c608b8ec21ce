//! Comparison of the compiler version that each crate declares as `rust-version` with the
//! versions that its dependencies need.

use std::collections::BTreeMap;
use std::fmt;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::{Package, closure};
use crate::shell;

/// Options of `cargo xtask rust-version`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Build each crate with exactly the compiler version that it declares: some
    /// dependencies declare no version, or an older one than they need
    #[arg(long)]
    build: bool,
}

/// Prints the compiler version of each crate; returns false if any of its dependencies
/// declares a newer one.
pub(crate) fn rust_version(args: &Args) -> Result<bool> {
    let crates = crates()?;
    let mut fits = true;
    println!(
        "{:<20} {:>8}  highest of its dependencies",
        "crate", "declared"
    );
    for found in &crates {
        let (declared, (needed, by)) = (found.declared, &found.needed);
        let verdict = if *needed > declared { "  TOO NEW" } else { "" };
        fits &= *needed <= declared;
        println!("{:<20} {declared:>8}  {needed} ({by}){verdict}", found.name);
    }
    if args.build && fits {
        build(&crates)?;
    }
    Ok(fits)
}

/// Runs the comparison without building anything, as a step of the test suite.
pub(crate) fn check() -> Result<bool> {
    rust_version(&Args { build: false })
}

/// Crate of the workspace with its declared and its needed compiler version.
struct Declared {
    name: String,
    declared: Version,
    /// Highest version that any dependency declares, and the name of that dependency.
    needed: (Version, String),
}

/// Compiler version as major, minor and patch number.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Version(u32, u32, u32);

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(major, minor, patch) = self;
        f.pad(&format!("{major}.{minor}.{patch}"))
    }
}

impl Version {
    /// Parses a version with or without patch number, for example `1.85` or `1.85.1`.
    fn parse(text: &str) -> Result<Self> {
        let numbers: Result<Vec<u32>, _> = text.split('.').map(str::parse).collect();
        match numbers.as_deref() {
            Ok([major, minor]) => Ok(Self(*major, *minor, 0)),
            Ok([major, minor, patch]) => Ok(Self(*major, *minor, *patch)),
            _ => bail!("{text} is not the version of a compiler"),
        }
    }
}

fn crates() -> Result<Vec<Declared>> {
    let mut metadata = shell::cargo();
    let text = shell::read(metadata.args(["metadata", "--format-version=1", "--locked"]))?;
    let metadata: Value = serde_json::from_str(&text).context("parsing cargo metadata")?;
    let mut versions: BTreeMap<Package, Version> = BTreeMap::new();
    let mut names = Vec::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let text = |key: &str| package[key].as_str();
        let (name, version) = text("name")
            .zip(text("version"))
            .context("a package's name")?;
        let declared = text("rust_version").map(Version::parse).transpose()?;
        versions.insert((name.into(), version.into()), declared.unwrap_or_default());
        // Packages of the workspace have no source; all others come from a registry.
        if text("source").is_none() {
            let declared = declared.with_context(|| format!("{name} declares no rust-version"))?;
            names.push((name.to_string(), declared));
        }
    }
    names
        .into_iter()
        .map(|(name, declared)| {
            let closure = closure(&name, "normal,build")?;
            let needed = closure
                .into_iter()
                .filter(|(other, _)| *other != name)
                .filter_map(|p| Some((*versions.get(&p)?, p.0)));
            let needed = needed.max().unwrap_or_default();
            Ok(Declared {
                name,
                declared,
                needed,
            })
        })
        .collect()
}

/// Builds the crates with the compiler versions that they declare, each version in a
/// separate target directory.
fn build(crates: &[Declared]) -> Result<()> {
    let installed = shell::read(shell::command("rustup").args(["toolchain", "list"]))?;
    let mut by_version: BTreeMap<Version, Vec<&str>> = BTreeMap::new();
    for found in crates {
        by_version
            .entry(found.declared)
            .or_default()
            .push(&found.name);
    }
    let has = |version: &&Version| {
        installed
            .lines()
            .any(|l| l.starts_with(&format!("{version}-")))
    };
    let missing: Vec<_> = by_version
        .keys()
        .filter(|v| !has(v))
        .map(Version::to_string)
        .collect();
    if !missing.is_empty() {
        bail!(
            "missing compilers: rustup toolchain install --profile minimal {}",
            missing.join(" ")
        );
    }
    for (version, names) in by_version {
        println!("building with {version}: {}", names.join(" "));
        let mut build = shell::command("rustup");
        build.args([
            "run",
            &version.to_string(),
            "cargo",
            "build",
            "--quiet",
            "--locked",
        ]);
        build.args(names.iter().flat_map(|n| ["--package", n]));
        let target = shell::target()?
            .join("rust-version")
            .join(version.to_string());
        shell::run(build.env("CARGO_TARGET_DIR", target))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compares_versions_by_number() {
        let version = |text| Version::parse(text).unwrap();
        assert!(version("1.9") < version("1.85") && version("1.85") < version("1.85.1"));
        assert_eq!(version("1.85").to_string(), "1.85.0");
        assert!(Version::parse("1.85-nightly").is_err() && Version::parse("1").is_err());
    }
}
