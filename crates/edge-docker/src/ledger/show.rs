//! `ledger`: prints the ledger, or verifies it.

use std::io::{ErrorKind, Write as _};
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context, Result};
use edge_common::contract::path::{LEDGER, LEDGER_HEAD};
use edge_common::log::printable;
use edge_common::{Root, file, known_time, log, time};
use edge_docker_policy::cli::args::Parsed;
use edge_docker_policy::refusal::refuse;

use super::record::{HASH_LENGTH, Head, Record};
use super::{segments, verify};

/// Exit code of `ledger verify` if the ledger was changed, as of `fsck`.
const DAMAGED: u8 = 3;
/// Size limit of the file with the head, in bytes.
const MAX_HEAD_BYTES: u64 = 4096;

/// Carries out `ledger [--json] [--tail N] [--since TIME]` and `ledger verify [--head N:HASH]`.
pub(crate) fn run(root: &Root, parsed: &Parsed<'_>) -> Result<ExitCode> {
    let directory = root.path(LEDGER);
    match parsed.arguments[..] {
        [] => print(&directory, parsed).map(|()| ExitCode::SUCCESS),
        ["verify"] => verify_chain(root, &directory, parsed),
        _ => Err(refuse("ledger takes no argument but verify")),
    }
}

fn print(directory: &Path, parsed: &Parsed<'_>) -> Result<()> {
    if parsed.last("head").is_some() {
        return Err(refuse("--head belongs to ledger verify"));
    }
    let tail = parsed.last("tail").map(|text| {
        let number = text.parse::<usize>().ok();
        number.ok_or_else(|| refuse(format_args!("--tail {text}: not a number")))
    });
    let tail = tail.transpose()?.unwrap_or(usize::MAX);
    let since = parsed
        .last("since")
        .map(|text| since(text, known_time::clock()));
    let since = since.transpose()?;
    if is_absent(directory) {
        log::info("no records yet");
        return Ok(());
    }
    // From the newest segment backwards, because often only the end is asked for.
    let mut lines: Vec<String> = Vec::new();
    for number in segments::list(directory)?.into_iter().rev() {
        if lines.len() >= tail {
            break;
        }
        let bytes = segments::read(directory, number)?;
        let is_json = parsed.is_set("json");
        let found = bytes
            .split(|b| *b == b'\n')
            .filter_map(|l| text(l, is_json, since));
        lines.splice(0..0, found.collect::<Vec<_>>());
    }
    let mut out = std::io::stdout().lock();
    for line in &lines[lines.len().saturating_sub(tail)..] {
        match writeln!(out, "{line}") {
            // A pager that was left.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
            result => result.context("writing to standard output")?,
        }
    }
    Ok(())
}

/// Returns whether no command was recorded on this device so far.
fn is_absent(directory: &Path) -> bool {
    let found = std::fs::symlink_metadata(directory);
    found.is_err_and(|error| error.kind() == ErrorKind::NotFound)
}

/// Parses the value of `--since`: an RFC 3339 time, or an age before `now`. Returns seconds
/// of Unix time.
fn since(text: &str, now: u64) -> Result<u64> {
    let age = || {
        let (number, unit) = text.split_at(text.len().checked_sub(1)?);
        let seconds = match unit {
            "s" => 1,
            "m" => 60,
            "h" => 3600,
            "d" => 86_400,
            _ => return None,
        };
        let is_number = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
        let age = number.parse::<u64>().ok().filter(|_| is_number)?;
        Some(now.saturating_sub(age.checked_mul(seconds)?))
    };
    // The last character may have several bytes.
    let age = text.is_ascii().then(age).flatten();
    age.or_else(|| time::parse(text)).ok_or_else(|| {
        refuse(format_args!(
            "--since {text}: give a time such as 2026-11-26T08:00:00Z, or an age such as 90s, \
             15m, 2h or 3d"
        ))
    })
}

/// Returns a record as it is printed, `None` for bytes that are no record and for records
/// before `since`.
fn text(line: &[u8], is_json: bool, since: Option<u64>) -> Option<String> {
    let (record, head) = Record::decode(line)?;
    // A record without a readable time is shown: it must not be hidden by a wrong clock.
    let is_older = |since: u64| time::parse(&record.entry.time).is_some_and(|t| t < since);
    if since.is_some_and(is_older) {
        return None;
    }
    if is_json {
        // The stored bytes, with the hash, so that others can verify the chain.
        let json = std::str::from_utf8(&line[HASH_LENGTH + 1..]).ok()?;
        let body = json.strip_prefix('{')?;
        return Some(format!("{{\"hash\":\"{}\",{body}", head.hash));
    }
    let entry = record.entry;
    let rest = match &entry.segment {
        Some(segment) => format!("segment {} begins {}", segment.number, segment.damage),
        None => super::line(&entry),
    };
    let carried = if entry.carried { " (carried over)" } else { "" };
    let time = &entry.time;
    Some(printable(&format!(
        "{:>6} {time} {rest}{carried}",
        head.counter
    )))
}

/// Verifies the chain, and that it contains the given head or, without one, the head of
/// this boot.
fn verify_chain(root: &Root, directory: &Path, parsed: &Parsed<'_>) -> Result<ExitCode> {
    let prints = ["tail", "since"].iter().any(|o| parsed.last(o).is_some());
    if prints || parsed.is_set("json") {
        return Err(refuse("ledger verify takes --head N:HASH only"));
    }
    let head = match parsed.last("head") {
        Some(text) => Some(parse_head(text)?),
        // Read before the records, which another process may append to.
        None => current_head(root),
    };
    // With a head, records were there and are gone.
    if head.is_none() && is_absent(directory) {
        log::info("no records yet");
        return Ok(ExitCode::SUCCESS);
    }
    let report = verify::verify(directory, head.as_ref())?;
    for finding in &report.findings {
        println!("{finding}");
    }
    if report.torn > 0 {
        println!(
            "{} bytes of a torn record at the end: cut off at the next one",
            report.torn
        );
    }
    match &report.head {
        Some(head) => println!("head {}:{}", head.counter, head.hash),
        None => println!("no record"),
    }
    Ok(match report.findings.is_empty() {
        true => ExitCode::SUCCESS,
        false => DAMAGED.into(),
    })
}

fn parse_head(text: &str) -> Result<Head> {
    let parsed = text.split_once(':').and_then(|(counter, hash)| {
        let is_hash = hash.len() == HASH_LENGTH
            && hash.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        Some(Head {
            counter: counter.parse().ok()?,
            hash: is_hash.then(|| hash.to_string())?,
        })
    });
    parsed.ok_or_else(|| {
        refuse(format_args!(
            "--head {text}: must be N:HASH, as the shadow reports counter and hash"
        ))
    })
}

fn current_head(root: &Root) -> Option<Head> {
    let text = file::read(&root.path(LEDGER_HEAD), MAX_HEAD_BYTES).ok()?;
    serde_json::from_slice(&text).ok()
}
