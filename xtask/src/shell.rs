//! Calls of external programs such as cargo, git and ssh, and the reaction to signals.

use std::env;
use std::ffi::OsStr;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, OnceLock};

use anyhow::{Context, Result, bail};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// Returns a command with the root of the repository as its working directory.
#[expect(clippy::disallowed_methods, reason = "chores have no other root")]
pub(crate) fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    command.current_dir(repository());
    if let Some(directory) = TEMPORARY.get() {
        command.env("TMPDIR", directory);
    }
    command
}

static TEMPORARY: OnceLock<PathBuf> = OnceLock::new();

/// Sets the temporary directory of this program and, as TMPDIR, of all programs that it
/// starts.
pub(crate) fn set_temporary_directory(directory: &Path) {
    // A second call is ignored: one run has one temporary directory.
    let _ = TEMPORARY.set(directory.to_path_buf());
    let _ = tempfile::env::override_temp_dir(directory);
}

/// Returns a command for the `cargo` that started this program, or else from PATH.
pub(crate) fn cargo() -> Command {
    command(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Returns a command for a program of the Python environment that `scripts/setup`
/// installs; an error if the program is missing.
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

/// Returns the root directory of the repository, which contains the crate `xtask`.
pub(crate) fn repository() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_path_buf()
}

/// Returns cargo's target directory, two levels above this program.
pub(crate) fn target() -> Result<PathBuf> {
    let me = env::current_exe().context("finding the target directory")?;
    let directory = me
        .ancestors()
        .nth(2)
        .context("finding the target directory")?;
    Ok(directory.to_path_buf())
}

static STOP: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// Prevents SIGINT, SIGTERM and SIGHUP from ending this program immediately: its child
/// processes receive them from the terminal too and end, and then it cleans up.
pub(crate) fn notice_signals() -> Result<()> {
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&STOP)).context("noticing signals")?;
    }
    Ok(())
}

/// Returns an error if SIGINT, SIGTERM or SIGHUP was received. To be called between steps
/// and in loops that wait.
pub(crate) fn going_on() -> Result<()> {
    if STOP.load(Ordering::Relaxed) {
        bail!("interrupted");
    }
    Ok(())
}

/// Runs a program with its output shown; an exit status other than 0 is an error.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| line(command))?;
    if !status.success() {
        bail!("{}: {status}", line(command));
    }
    Ok(())
}

/// Runs a program and returns its standard output; an exit status other than 0 is an
/// error with the last lines of the output.
pub(crate) fn read(command: &mut Command) -> Result<String> {
    let output = output(command)?;
    if !output.status.success() {
        bail!("{}: {}: {}", line(command), output.status, tail(&output));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a program and returns its output and exit status; only a failed start is an
/// error.
pub(crate) fn output(command: &mut Command) -> Result<Output> {
    command.output().with_context(|| line(command))
}

/// Runs a program with `input` as standard input and returns its output and exit status.
pub(crate) fn feed(command: &mut Command, input: &[u8]) -> Result<Output> {
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

/// Returns the last six non-empty lines of a program's output, joined to one line.
pub(crate) fn tail(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr[..]].concat();
    let text = String::from_utf8_lossy(&both);
    let lines: Vec<_> = text.lines().filter(|l| !l.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(6)..].join("; ")
}

/// Returns program and arguments for a message. Of a script among them, its first line.
fn line(command: &Command) -> String {
    let parts = std::iter::once(command.get_program()).chain(command.get_args());
    let parts = parts.map(|part| {
        let part = part.to_string_lossy();
        match part.split_once('\n') {
            Some((first, _)) => format!("{first} […]"),
            None => part.into_owned(),
        }
    });
    parts.collect::<Vec<_>>().join(" ")
}
