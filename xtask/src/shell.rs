//! Programs that the chores run.

use std::env;
use std::ffi::OsStr;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock, OnceLock};

use anyhow::{Context, Result, bail};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// Returns a command that runs at the root of the repository.
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

/// Makes this program and all that it runs put temporary files into a directory.
pub(crate) fn set_temporary_directory(directory: &Path) {
    // A second call changes nothing: one run has one directory.
    let _ = TEMPORARY.set(directory.to_path_buf());
    let _ = tempfile::env::override_temp_dir(directory);
}

/// Returns the `cargo` that runs this program.
pub(crate) fn cargo() -> Command {
    command(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// Returns a program of the Python environment that `scripts/setup` installs.
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

/// Returns the root of the repository.
pub(crate) fn repository() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_path_buf()
}

/// Returns the target directory of cargo, which this program was built into.
pub(crate) fn target() -> Result<PathBuf> {
    let me = env::current_exe().context("finding the target directory")?;
    let directory = me
        .ancestors()
        .nth(2)
        .context("finding the target directory")?;
    Ok(directory.to_path_buf())
}

static STOP: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// Keeps signals to stop from ending this program at once: the programs that it runs get
/// them too and end, and then it cleans up.
pub(crate) fn notice_signals() -> Result<()> {
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&STOP)).context("noticing signals")?;
    }
    Ok(())
}

/// Returns an error after a signal to stop. Called between steps and while waiting.
pub(crate) fn going_on() -> Result<()> {
    if STOP.load(Ordering::Relaxed) {
        bail!("interrupted");
    }
    Ok(())
}

/// Runs a program with its output shown; a status other than 0 is an error.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| line(command))?;
    if !status.success() {
        bail!("{}: {status}", line(command));
    }
    Ok(())
}

/// Runs a program and returns its standard output; a status other than 0 is an error
/// with the end of its output.
pub(crate) fn read(command: &mut Command) -> Result<String> {
    let output = output(command)?;
    if !output.status.success() {
        bail!("{}: {}: {}", line(command), output.status, tail(&output));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Runs a program and returns its output, whatever its status.
pub(crate) fn output(command: &mut Command) -> Result<Output> {
    command.output().with_context(|| line(command))
}

/// Runs a program with `input` as its standard input, whatever its status.
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

/// Returns the last lines of a program's output, on one line.
pub(crate) fn tail(output: &Output) -> String {
    let both = [&output.stdout[..], &output.stderr[..]].concat();
    let text = String::from_utf8_lossy(&both);
    let lines: Vec<_> = text.lines().filter(|l| !l.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(6)..].join("; ")
}

fn line(command: &Command) -> String {
    let parts = std::iter::once(command.get_program()).chain(command.get_args());
    let parts: Vec<_> = parts.map(OsStr::to_string_lossy).collect();
    parts.join(" ")
}
