//! `cp`: copies files between the own mounts of an app and the caller.
//!
//! The side in the app is opened below the source of one of the app's mounts, without
//! following a link: the container can change its directories at any time, and a path in
//! it could lead to a grant, to another app or to the device. The side of the caller
//! belongs to a thread that has the caller's user and group, since sudo made the process
//! root. Between the sides goes a tar archive.

mod caller;
mod pack;
mod place;
mod stream;
mod unpack;

use std::ffi::OsString;
use std::fs::File;
use std::io::{BufWriter, ErrorKind, IsTerminal as _, Write as _};
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use edge_common::Root;
use edge_common::log::printable;
use edge_docker_policy::cli::args::Parsed;
use edge_docker_policy::cli::copy::{AppPath, Copy};
use edge_docker_policy::refusal::refuse;
use serde_json::Value;

use self::caller::Caller;
use self::pack::Source;
use self::place::Place;
use self::stream::{Cancel, Input, Work};
use self::unpack::Target;
use super::exec;
use crate::break_glass::{self, Change};
use crate::image::identify;
use crate::ledger::Decision;
use crate::trust;

/// Maximum depth of directories.
const MAX_DEPTH: usize = 64;
/// Maximum number of files, directories and links in a copy.
const MAX_ENTRIES: u64 = 250_000;
/// Maximum number of bytes in a copy. A file with holes counts as if it had none.
const MAX_BYTES: u64 = 64 << 30;
/// Name of the file that stands for a standard stream.
const STREAM: &str = "-";
/// Number of entries that were left out of a copy and that are named.
const MAX_NAMED: usize = 5;

/// Content of a copy.
#[derive(Debug, Default)]
struct Copied {
    entries: u64,
    bytes: u64,
    /// Number of entries that are no files, directories or links.
    skipped: u64,
    /// First ones of them, printable.
    named: Vec<String>,
}

impl Copied {
    /// Counts an entry with content of `bytes`.
    ///
    /// # Errors
    /// The copy exceeds a limit.
    fn add(&mut self, bytes: u64) -> Result<()> {
        self.entries += 1;
        self.bytes = self.bytes.saturating_add(bytes);
        if self.entries > MAX_ENTRIES {
            anyhow::bail!("more than {MAX_ENTRIES} files and directories: copy parts of it");
        }
        if self.bytes > MAX_BYTES {
            anyhow::bail!(
                "more than {} GiB, holes of files included: copy parts of it",
                MAX_BYTES >> 30
            );
        }
        Ok(())
    }

    fn skip(&mut self, name: &str) {
        self.skipped += 1;
        if self.named.len() < MAX_NAMED {
            self.named.push(printable(name));
        }
    }
}

/// Carries out `cp`.
pub(super) async fn run(root: &Root, parsed: &Parsed<'_>) -> Result<ExitCode> {
    let work = match Copy::parse(&parsed.arguments)? {
        Copy::Out { from, to } => out(root, &from, to).await?,
        Copy::Into { from, to } => into(root, from, &to).await?,
    };
    let Some(copied) = work.wait().await? else {
        return Ok(ExitCode::from(stream::INTERRUPTED));
    };
    if !parsed.is_set("quiet") {
        summarize(&copied);
    }
    Ok(ExitCode::SUCCESS)
}

fn summarize(copied: &Copied) {
    let mut err = std::io::stderr().lock();
    let (entries, bytes) = (copied.entries, copied.bytes);
    // Nobody reads it otherwise, and the copy is complete.
    let _ = writeln!(err, "copied {entries} files and directories, {bytes} bytes");
    if copied.skipped > 0 {
        let more = if copied.skipped > copied.named.len() as u64 {
            ", …"
        } else {
            ""
        };
        let _ = writeln!(
            err,
            "left out {} that are no files, directories or links, or another mount: {}{more}",
            copied.skipped,
            copied.named.join(", ")
        );
    }
}

/// Starts the copy out of an app.
async fn out(root: &Root, from: &AppPath<'_>, to: &str) -> Result<Work> {
    let found = identify::created(root, "cp", from.container).await?;
    break_glass::require_app(break_glass::app_of(&found))?;
    let place = Place::find(root, &found, from)?;
    let at = place.open()?;
    let name = match from.is_content {
        true => OsString::new(),
        false => place.name(),
    };
    let record = || record(root, &found, &format!("out of /{}", from.path));
    if to == STREAM {
        if std::io::stdout().is_terminal() {
            return Err(refuse(
                "cp of an archive to a terminal is refused: add >FILE or | tar x",
            ));
        }
        record()?;
        let output = std::io::stdout().as_fd().try_clone_to_owned();
        let output = File::from(output.context("opening standard output")?);
        let source = Source::new(at, PathBuf::from(name));
        let ticket = break_glass::hold(root)?;
        return Work::one(ticket, None, move || source.pack(BufWriter::new(output)));
    }
    let caller = Caller::of_sudo()?;
    let file = to.to_string();
    let start = root.clone();
    let target = caller.run(move || Target::of_caller(&start, &file, name))??;
    record()?;
    let source = Source::new(at, target.top().to_path_buf());
    Work::both(
        break_glass::hold(root)?,
        move |output| source.pack(output),
        move |input| {
            caller.enter()?;
            target.unpack(input)
        },
    )
}

/// Starts the copy into an app.
async fn into(root: &Root, from: &str, to: &AppPath<'_>) -> Result<Work> {
    let judged = identify::verified(root, &trust::load(root)?, "cp", to.container).await?;
    let app = break_glass::app_of(&judged.found);
    break_glass::require_app(app)?;
    // An app with grants loads from its mounts what it runs with them.
    exec::require_no_grants(
        root,
        &judged.found,
        &format!("cp into {}", to.container),
        "a ticket that names the app permits it",
    )?;
    let place = Place::find(root, &judged.found, to)?;
    place.require_writable()?;
    let record = || {
        break_glass::change(root, &judged.found, Change::Entered)?;
        record(root, &judged.found, &format!("into /{}", to.path))
    };
    if from == STREAM {
        if std::io::stdin().is_terminal() {
            return Err(refuse(
                "cp of an archive from a terminal is refused: add <FILE, or tar c FILE | before it",
            ));
        }
        let target = Target::directory(&place)?;
        record()?;
        let (cancel, end) = Cancel::new()?;
        let input = std::io::stdin().as_fd().try_clone_to_owned();
        let input = Input::new(input.context("opening standard input")?, end);
        let ticket = break_glass::hold(root)?;
        return Work::one(ticket, Some(cancel), move || target.unpack(input));
    }
    let caller = Caller::of_sudo()?;
    let (start, file) = (root.clone(), from.to_string());
    let (at, name) = caller.run(move || Source::of_caller(&start, &file))??;
    let target = Target::of_app(&place, name)?;
    record()?;
    let source = Source::new(at, target.top().to_path_buf());
    Work::both(
        break_glass::hold(root)?,
        move |output| {
            caller.enter()?;
            source.pack(output)
        },
        move |input| target.unpack(input),
    )
}

fn record(root: &Root, found: &Value, reason: &str) -> Result<()> {
    let decision = Decision {
        verb: "cp",
        container: found["Name"]
            .as_str()
            .unwrap_or_default()
            .trim_start_matches('/'),
        reason,
        ..Decision::default()
    };
    decision.record(root)
}

/// Returns whether an error is that of a pipe whose reader has ended: the reader's own
/// error says why.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error
        .chain()
        .find_map(|e| e.downcast_ref::<std::io::Error>());
    io.is_some_and(|e| e.kind() == ErrorKind::BrokenPipe)
}
