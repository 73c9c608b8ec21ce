//! Command lines of edge-app in the documentation.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

use std::fs;
use std::path::{Path, PathBuf};

use clap::Parser as _;
use clap::error::ErrorKind;
use edge_app::Args;

/// Command line, and the place where it stands.
struct Line {
    place: String,
    text: String,
    /// In a block, which a reader copies; a code span in a sentence may leave arguments out.
    whole: bool,
}

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn pages(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            pages(&path, found);
        } else if path.extension().is_some_and(|e| e == "md") {
            found.push(path);
        }
    }
}

/// Returns the lines of a page that begin with `edge-app`, continued lines joined.
fn lines(path: &Path) -> Vec<Line> {
    let text = fs::read_to_string(path).unwrap().replace("\\\n", " ");
    let (mut found, mut in_block) = (Vec::new(), false);
    for (number, line) in text.lines().enumerate() {
        let place = format!("{}:{}", path.display(), number + 1);
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
        } else if in_block {
            let command = line.split(" # ").next().unwrap_or_default();
            for part in command.split("&&") {
                found.push((place.clone(), part.trim().to_owned(), true));
            }
        } else {
            let spans = line.split('`').skip(1).step_by(2);
            found.extend(spans.map(|s| (place.clone(), s.to_owned(), false)));
        }
    }
    let ours = found
        .into_iter()
        .filter(|(_, t, _)| t.starts_with("edge-app "));
    ours.map(|(place, text, whole)| Line { place, text, whole })
        .collect()
}

/// Splits a line at blanks outside double quotes, as a shell does.
fn words(line: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (number, part) in line.split('"').enumerate() {
        if number % 2 == 1 {
            found.push(part.to_owned());
        } else {
            found.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    found
}

/// Returns why edge-app refuses a line, if it does.
fn wrong(line: &Line) -> Option<String> {
    // Alternatives and pipes of a sentence are no arguments.
    let command = line.text.split(" > ").next().unwrap_or_default();
    let error = Args::try_parse_from(words(command)).err()?;
    let fine = match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => true,
        ErrorKind::MissingRequiredArgument | ErrorKind::MissingSubcommand => !line.whole,
        ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand | ErrorKind::InvalidValue => {
            !line.whole
        }
        _ => false,
    };
    let reason = error.to_string();
    let first = reason.lines().next().unwrap_or_default();
    (!fine).then(|| format!("{}: {}: {first}", line.place, line.text))
}

#[test]
fn edge_app_takes_every_documented_line() {
    let mut found = vec![repository().join("README.md")];
    pages(&repository().join("docs"), &mut found);
    let lines: Vec<_> = found.iter().flat_map(|p| lines(p)).collect();
    let wrong: Vec<_> = lines.iter().filter_map(wrong).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(lines.len() > 60, "only {} lines were found", lines.len());
}

/// A page that pushes an app builds it first, or copies an image.
#[test]
fn what_is_pushed_was_built() {
    let mut found = vec![repository().join("README.md")];
    pages(&repository().join("docs"), &mut found);
    for page in found
        .iter()
        .filter(|p| !p.to_string_lossy().contains("/docs/cli/"))
    {
        let lines = lines(page);
        let blocks = || lines.iter().filter(|line| line.whole);
        let first =
            |name: &str| blocks().position(|l| l.text.split_whitespace().nth(1) == Some(name));
        let Some(push) = first("push") else { continue };
        let copies = blocks().nth(push).unwrap().text.contains("--from");
        let built = first("build").is_some_and(|build| build < push);
        assert!(built || copies, "{}: build before push", page.display());
    }
}

#[test]
fn a_wrong_line_is_found() {
    let line = |text: &str, whole| Line {
        place: "here".into(),
        text: text.into(),
        whole,
    };
    assert!(wrong(&line("edge-app push hello --no-such-option", false)).is_some());
    assert!(wrong(&line("edge-app no-such-command", false)).is_some());
    assert!(wrong(&line("edge-app push", true)).is_some());
    assert!(wrong(&line("edge-app push", false)).is_none());
}
