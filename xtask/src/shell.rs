//! Running programs for the chores.

use std::env;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, bail};

/// A command that runs at the root of the repository.
#[expect(clippy::disallowed_methods, reason = "chores have no other root")]
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(repository());
    command
}

/// `cargo` as it runs us.
pub fn cargo() -> Command {
    command(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// The root of the repository.
pub fn repository() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_path_buf()
}

/// Where cargo puts what it builds: beside us.
///
/// # Errors
/// Not run by cargo from a target folder.
pub fn target() -> Result<PathBuf> {
    let me = env::current_exe().context("finding the target folder")?;
    let folder = me.ancestors().nth(2).context("finding the target folder")?;
    Ok(folder.to_path_buf())
}

/// Runs to the end with its output shown.
///
/// # Errors
/// Not started, or a status other than 0.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| line(command))?;
    if !status.success() {
        bail!("{}: {status}", line(command));
    }
    Ok(())
}

/// Runs to the end and gives what it printed.
///
/// # Errors
/// Not started, or a status other than 0, with the end of what it said.
pub fn read(command: &mut Command) -> Result<String> {
    let output = output(command)?;
    if !output.status.success() {
        bail!("{}: {}: {}", line(command), output.status, said(&output));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs to the end, whatever its status.
///
/// # Errors
/// Not started.
pub fn output(command: &mut Command) -> Result<Output> {
    command.output().with_context(|| line(command))
}

/// The last words of a program, on one line.
pub fn said(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr[..]].concat();
    let text = String::from_utf8_lossy(&both);
    let lines: Vec<_> = text.lines().filter(|l| !l.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(6)..].join("; ")
}

fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(OsStr::to_string_lossy).collect();
    words.join(" ")
}
