//! Kills a program at every system call that it makes, one run for each, by
//! strace's fault injection, and asks after each whether the next run heals.
//!
//! strace counts the calls of a name for each thread by itself, so a point is
//! a name and a number: together the points are all calls of all threads.

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

use crate::process::find;

/// Calls that change what is on disk or on a device: a sample has them all.
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
/// More calls of one name than this are a loop, not a program that ends.
const MOST: usize = 20_000;

/// Whom it hits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// Every thread, of a program that starts no other.
    Threads,
    /// The first thread alone, of a program that starts others.
    First,
    /// The program and all that it starts: a helper may be gone, and the program
    /// ends by itself.
    Helpers,
}

/// The `nth` call of `name` in whichever thread gets there first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Point {
    /// Name of the system call.
    pub name: String,
    /// Counted from 1.
    pub nth: usize,
}

impl fmt::Display for Point {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} #{}", self.name, self.nth)
    }
}

/// What was tried.
#[derive(Debug, Default)]
pub struct Tally {
    /// Runs that were killed.
    pub killed: usize,
    /// Runs whose point was never reached: each name ends with one.
    pub untouched: usize,
    /// Names of system calls.
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

/// Kills the program at every point, or at a sample: with `every` = 1 at all,
/// else at each changing call, each first call, and every `every`-th other.
/// `prepare` makes a fresh world, `words` gives program and arguments in it,
/// `check` is told the world after the kill and says what is wrong with it:
/// there the program is run again, and the end compared.
///
/// # Errors
/// strace is missing or cannot trace; or the first thing `check` finds, with
/// its point.
pub fn sweep<W>(
    every: usize,
    prepare: impl Fn() -> W + Sync,
    words: impl Fn(&W) -> Vec<OsString> + Sync,
    check: impl Fn(&W, &Point) -> Result<()> + Sync,
) -> Result<Tally> {
    sweep_at(Reach::Threads, every, prepare, words, check)
}

/// As [`sweep`], for programs that start others.
///
/// # Errors
/// As [`sweep`].
pub fn sweep_at<W>(
    reach: Reach,
    every: usize,
    prepare: impl Fn() -> W + Sync,
    words: impl Fn(&W) -> Vec<OsString> + Sync,
    check: impl Fn(&W, &Point) -> Result<()> + Sync,
) -> Result<Tally> {
    let names = record(reach, &words(&prepare()))?;
    let (next, killed, untouched) = (
        AtomicUsize::new(0),
        AtomicUsize::new(0),
        AtomicUsize::new(0),
    );
    let wrong = Mutex::new(None);
    let one_name = |name: &str| -> Result<()> {
        for nth in (1..MOST).filter(|n| wanted(every, name, *n)) {
            let point = Point {
                name: name.into(),
                nth,
            };
            let world = prepare();
            let status = run_killed(reach, &point, &words(&world))?;
            let touched = match reach {
                Reach::Helpers => !status.success(),
                _ => status.signal() == Some(9),
            };
            if !touched {
                untouched.fetch_add(1, Ordering::Relaxed);
                return check(&world, &point).with_context(|| format!("untouched, {point}"));
            }
            killed.fetch_add(1, Ordering::Relaxed);
            check(&world, &point).with_context(|| format!("killed at {point}"))?;
        }
        bail!("{name} is called without end");
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(name) = names.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if let Err(error) = one_name(name) {
                        wrong
                            .lock()
                            .unwrap_or_else(std::sync::PoisonError::into_inner)
                            .get_or_insert(error);
                        next.store(names.len(), Ordering::Relaxed);
                    }
                }
            });
        }
    });
    match wrong
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

fn wanted(every: usize, name: &str, nth: usize) -> bool {
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

/// Runs untouched once and gives the names of all system calls, those that
/// happen most often first, so that the longest work begins first.
fn record(reach: Reach, words: &[OsString]) -> Result<Vec<String>> {
    let log = tempfile::NamedTempFile::new().context("making a file")?;
    let output = strace(reach, log.path().as_os_str())?
        .arg("--")
        .args(words)
        .output()
        .context("running strace")?;
    if !output.status.success() {
        bail!(
            "the untouched run ended with {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    let text = fs::read(log.path()).context("reading what strace wrote")?;
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

/// The call in `1234  openat(AT_FDCWD, …`, the number left out where there is one
/// thread; nothing in lines of other kinds.
fn name_of(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let call = line.trim_start_matches(|c: char| c.is_ascii_digit());
    let name = call.trim_start().split_once('(')?.0;
    let good = |c: char| c.is_ascii_alphanumeric() || c == '_';
    (!name.is_empty() && name.chars().all(good)).then_some(name)
}

fn run_killed(reach: Reach, point: &Point, words: &[OsString]) -> Result<ExitStatus> {
    let mut command = strace(reach, OsStr::new("/dev/null"))?;
    command
        .arg("-e")
        .arg(format!("trace={}", point.name))
        .arg("-e")
        .arg(format!(
            "inject={}:signal=KILL:when={}",
            point.name, point.nth
        ))
        .arg("--")
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().context("running strace")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_strace() {
        assert_eq!(name_of("12 openat(AT_FDCWD, \"a(b\") = 3"), Some("openat"));
        assert_eq!(name_of("openat(AT_FDCWD, \"a(b\") = 3"), Some("openat"));
        assert_eq!(name_of("12 <... read resumed>\"\", 1) = 0"), None);
        assert_eq!(name_of("12 +++ exited with 0 +++"), None);
        assert_eq!(name_of("12 --- SIGCHLD {si_signo=SIGCHLD} ---"), None);
    }

    #[test]
    fn a_shell_is_killed_at_each_of_its_writes() {
        let words = |file: &tempfile::NamedTempFile| {
            let script = format!("echo a >>{0}; echo b >>{0}", file.path().display());
            ["/bin/sh", "-c", &script].map(OsString::from).to_vec()
        };
        let seen = Mutex::new(Vec::new());
        let tally = sweep(
            1000,
            || tempfile::NamedTempFile::new().unwrap(),
            words,
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
