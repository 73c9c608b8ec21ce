//! Simulation of power losses at kill points, the system calls of a program: for
//! each kill point, one run is killed at this call by the fault injection of
//! strace. The caller then checks that the next run repairs the state that the
//! killed run left.
//!
//! strace counts the calls of each name separately for each thread, so a kill point
//! consists of a name and a number. Together the kill points cover all calls of all
//! threads.

use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, bail};
use edge_common::Root;

use crate::host::find;

/// System calls that change files or devices. Every sample contains all of these
/// calls.
const CHANGING: [&str; 16] = [
    "fallocate",
    "fchmod",
    "fdatasync",
    "fsync",
    "ftruncate",
    "link",
    "linkat",
    "mkdir",
    "mkdirat",
    "mount",
    "rename",
    "renameat",
    "renameat2",
    "unlink",
    "unlinkat",
    "write",
];
/// Maximum number of calls of one name in a run. A program that exceeds it is in an
/// endless loop.
const MAX_CALLS: usize = 20_000;

/// Threads and processes whose calls are kill points.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Every thread of a program that starts no other program.
    Threads,
    /// Only the first thread of a program that starts other programs.
    First,
    /// The program and the programs that it starts. When such a helper is killed,
    /// the program itself ends with an error.
    Helpers,
}

/// Kill point: the `nth` call of `name`, in the thread that reaches this number
/// first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Point {
    /// Name of the system call, for example `rename`.
    pub name: String,
    /// Number of the call in its thread, from 1.
    pub nth: usize,
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} #{}", self.name, self.nth)
    }
}

/// Result of the runs for all kill points of a program.
#[derive(Debug, Default)]
pub struct Tally {
    /// Number of runs that were killed at their kill point.
    pub killed: usize,
    /// Number of runs that ended before their kill point: one for each name of a
    /// system call.
    pub untouched: usize,
    /// Number of different system calls of the program.
    pub names: usize,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Tally {
            killed,
            untouched,
            names,
        } = self;
        write!(
            f,
            "killed at {killed} points of {names} system calls, {untouched} runs ended untouched"
        )
    }
}

/// Runs the program once for each kill point and kills it there. With `every` = 1
/// every call is a kill point, else each call that changes files, the first call of
/// each name, and every `every`-th other call. `prepare` creates a new test root,
/// `command` returns program and arguments for this root, and `check` runs the
/// program again after the kill and checks the final state.
///
/// # Errors
/// If strace is missing or cannot trace, or if `check` fails; the error names the
/// kill point.
pub fn kill_at_points<R>(
    reach: Reach,
    every: usize,
    prepare: impl Fn() -> R + Sync,
    command: impl Fn(&R) -> Vec<OsString> + Sync,
    check: impl Fn(&R, &Point) -> Result<()> + Sync,
) -> Result<Tally> {
    let names = call_names(reach, &command(&prepare()))?;
    let (next, killed, untouched) = (
        AtomicUsize::new(0),
        AtomicUsize::new(0),
        AtomicUsize::new(0),
    );
    let failure = Mutex::new(None);
    let one_name = |name: &str| -> Result<()> {
        for nth in (1..MAX_CALLS).filter(|n| in_sample(every, name, *n)) {
            let point = Point {
                name: name.into(),
                nth,
            };
            let root = prepare();
            let status = run_killed(reach, &point, &command(&root))?;
            let touched = match reach {
                Reach::Helpers => !status.success(),
                _ => status.signal() == Some(9),
            };
            if !touched {
                untouched.fetch_add(1, Ordering::Relaxed);
                return check(&root, &point).with_context(|| format!("untouched, {point}"));
            }
            killed.fetch_add(1, Ordering::Relaxed);
            check(&root, &point).with_context(|| format!("killed at {point}"))?;
        }
        bail!("{name} is called more than {MAX_CALLS} times");
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(name) = names.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(error) = one_name(name) {
                        failure
                            .lock()
                            .unwrap_or_else(std::sync::PoisonError::into_inner)
                            .get_or_insert(error);
                        next.store(names.len(), Ordering::Relaxed);
                    }
                }
            });
        }
    });
    match failure
        .into_inner()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
    {
        Some(error) => Err(error),
        None => Ok(Tally {
            killed: killed.into_inner(),
            untouched: untouched.into_inner(),
            names: names.len(),
        }),
    }
}

fn in_sample(every: usize, name: &str, nth: usize) -> bool {
    nth == 1 || CHANGING.contains(&name) || nth % every.max(1) == 0
}

fn strace(reach: Reach, log: &OsStr) -> Result<Command> {
    let mut command = Root::system().command(find("strace")?);
    if reach != Reach::First {
        command.arg("-f");
    }
    command.args(["-qq", "-o"]).arg(log);
    Ok(command)
}

/// Runs the program once without a kill and returns the names of its system calls,
/// the most frequent first. The threads then begin with the longest work and end at
/// about the same time.
fn call_names(reach: Reach, command: &[OsString]) -> Result<Vec<String>> {
    let log = tempfile::NamedTempFile::new().context("creating a temporary file")?;
    let output = strace(reach, log.path().as_os_str())?
        .arg("--")
        .args(command)
        .output()
        .context("running strace")?;
    if !output.status.success() {
        bail!(
            "the run without a kill ended with {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    let text = fs::read(log.path()).context("reading the output of strace")?;
    let mut counts = HashMap::<String, usize>::new();
    for line in String::from_utf8_lossy(&text).lines() {
        if let Some(name) = name_of(line) {
            *counts.entry(name.into()).or_default() += 1;
        }
    }
    let mut names: Vec<_> = counts.into_iter().collect();
    names.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    Ok(names.into_iter().map(|(name, _)| name).collect())
}

/// Parses `PID NAME(…`, a line of strace, and returns the name of the system call;
/// `None` for other lines. strace omits the PID if there is only one thread.
fn name_of(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let call = line.trim_start_matches(|c: char| c.is_ascii_digit());
    let name = call.trim_start().split_once('(')?.0;
    let valid = |c: char| c.is_ascii_alphanumeric() || c == '_';
    (!name.is_empty() && name.chars().all(valid)).then_some(name)
}

fn run_killed(reach: Reach, point: &Point, command: &[OsString]) -> Result<ExitStatus> {
    let mut strace = strace(reach, OsStr::new("/dev/null"))?;
    strace
        .arg("-e")
        .arg(format!("trace={}", point.name))
        .arg("-e")
        .arg(format!(
            "inject={}:signal=KILL:when={}",
            point.name, point.nth
        ))
        .arg("--")
        .args(command)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    strace.status().context("running strace")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strace_lines_are_parsed() {
        assert_eq!(name_of("12 openat(AT_FDCWD, \"a(b\") = 3"), Some("openat"));
        assert_eq!(name_of("openat(AT_FDCWD, \"a(b\") = 3"), Some("openat"));
        assert_eq!(name_of("12 <... read resumed>\"\", 1) = 0"), None);
        assert_eq!(name_of("12 +++ exited with 0 +++"), None);
        assert_eq!(name_of("12 --- SIGCHLD {si_signo=SIGCHLD} ---"), None);
    }

    #[test]
    fn a_shell_is_killed_at_each_of_its_writes() {
        let command = |file: &tempfile::NamedTempFile| {
            let script = format!("echo a >>{0}; echo b >>{0}", file.path().display());
            ["/bin/sh", "-c", &script].map(OsString::from).to_vec()
        };
        let seen = Mutex::new(Vec::new());
        let tally = kill_at_points(
            Reach::Threads,
            1000,
            || tempfile::NamedTempFile::new().unwrap(),
            command,
            |file, point| {
                if point.name == "write" {
                    seen.lock()
                        .unwrap()
                        .push(fs::read_to_string(file.path()).unwrap());
                }
                Ok(())
            },
        );
        let tally = tally.unwrap();
        assert_eq!(*seen.lock().unwrap(), ["", "a\n", "a\nb\n"]);
        assert!(
            tally.killed > 2 && tally.untouched == tally.names,
            "{tally}"
        );
    }
}
