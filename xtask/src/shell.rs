//! Running programs for the chores.

use std::env;
use std::ffi::OsStr;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};

use anyhow::{Context, Result, bail};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

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

/// A program of the Python environment that `scripts/setup` installs.
pub(crate) fn python_tool(name: &str) -> Result<Command> {
    let cache = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let home = || env::var_os("HOME").map(|h| PathBuf::from(h).join(".cache"));
    let cache = cache.or_else(home).context("HOME is not set")?;
    let program = cache.join("edge-ai/venv/bin").join(name);
    if !program.exists() {
        bail!("{} is missing: run scripts/setup", program.display());
    }
    Ok(command(program))
}

/// The root of the repository.
pub fn repository() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_path_buf()
}

/// Where cargo puts what it builds: beside us.
///
/// # Errors
/// Not run by cargo from a target directory.
pub fn target() -> Result<PathBuf> {
    let me = env::current_exe().context("finding the target directory")?;
    let directory = me
        .ancestors()
        .nth(2)
        .context("finding the target directory")?;
    Ok(directory.to_path_buf())
}

static STOP: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// From now on a signal to stop does not end us at once: what we run gets it
/// too and ends, and then we clean up.
///
/// # Errors
/// As `sigaction`.
pub fn notice_signals() -> Result<()> {
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&STOP)).context("noticing signals")?;
    }
    Ok(())
}

/// Asked between steps and wherever something is waited for.
///
/// # Errors
/// There was a signal to stop.
pub fn going_on() -> Result<()> {
    if STOP.load(Ordering::Relaxed) {
        bail!("interrupted");
    }
    Ok(())
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

/// Runs to the end with `input`, whatever its status.
///
/// # Errors
/// Not started, or it does not read all of it.
pub fn feed(command: &mut Command, input: &[u8]) -> Result<Output> {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().with_context(|| line(command))?;
    let mut stdin = child.stdin.take().context("standard input")?;
    stdin.write_all(input).with_context(|| line(command))?;
    drop(stdin);
    child.wait_with_output().with_context(|| line(command))
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
