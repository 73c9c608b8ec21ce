//! Programs of an earlier commit, to be measured in turn with those of the work tree.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result, ensure};

use crate::shell;

/// Builds release programs of `commit`, which `args` selects, and returns their directory,
/// which is kept in cargo's target directory. The crates of others are not compiled again,
/// because both share that directory: programs of the work tree have to be built afterwards.
pub(super) fn build(commit: &str, args: &[&str]) -> Result<PathBuf> {
    let mut git = shell::command("git");
    let hash = shell::read(git.args(["rev-parse", "--verify", &format!("{commit}^{{commit}}")]));
    let hash = hash.with_context(|| format!("{commit} is no commit of this repository"))?;
    let target = shell::target()?.join("earlier").join(hash.trim());
    let source = target.join("source");
    if !source.join("Cargo.toml").exists() {
        extract(hash.trim(), &source)?;
    }
    let mut cargo = shell::cargo();
    cargo.args(["build", "--quiet", "--release"]).args(args);
    let (built, kept) = (shell::target()?.join("release"), target.join("release"));
    cargo.env("CARGO_TARGET_DIR", shell::target()?);
    shell::run(cargo.current_dir(&source))?;
    copy(&built, &kept)?;
    Ok(kept)
}

fn extract(hash: &str, source: &Path) -> Result<()> {
    fs::create_dir_all(source).with_context(|| format!("creating {}", source.display()))?;
    let mut git = shell::command("git");
    git.args(["archive", "--format=tar", hash]);
    let mut archive = git.stdout(Stdio::piped()).spawn().context("git archive")?;
    let pipe = archive.stdout.take().context("git archive")?;
    let mut tar = shell::command("tar");
    shell::run(tar.arg("-xC").arg(source).stdin(pipe))?;
    ensure!(archive.wait()?.success(), "git archive {hash} failed");
    Ok(())
}

/// Copies the programs of this repository, whose names begin with `edge-`.
fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to).with_context(|| format!("creating {}", to.display()))?;
    for entry in fs::read_dir(from).with_context(|| format!("reading {}", from.display()))? {
        let entry = entry.context("reading the target directory")?;
        let name = entry.file_name();
        let is_program = name
            .to_str()
            .is_some_and(|n| n.starts_with("edge-") && !n.contains('.'));
        if is_program {
            fs::copy(entry.path(), to.join(&name)).context("copying a program")?;
        }
    }
    Ok(())
}
