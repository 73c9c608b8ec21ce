//! Pages that are generated from the output of the programs' `--help`: `docs/cli` and
//! `docs/man`.

mod help;
mod man;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::{shell, sizes};
use help::Help;

/// Options of `cargo xtask cli-docs` and `cargo xtask man`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Write nothing; print the pages that are not up to date and fail
    #[arg(long)]
    check: bool,
}

/// Map from file name to text, for the pages of one directory.
type Pages = BTreeMap<String, String>;

/// Writes `docs/cli`, or only checks it if `args` says so; returns false if a page is not
/// up to date.
pub(crate) fn cli(args: &Args) -> Result<bool> {
    update(
        "docs/cli",
        &markdown(&read()?),
        "cargo xtask cli-docs",
        args.check,
    )
}

/// Writes `docs/man`, or only checks it if `args` says so; returns false if a page is not
/// up to date.
pub(crate) fn man(args: &Args) -> Result<bool> {
    update(
        "docs/man",
        &man::pages(&read()?)?,
        "cargo xtask man",
        args.check,
    )
}

/// Checks `docs/cli` and `docs/man`, as a step of the test suite.
pub(crate) fn check() -> Result<bool> {
    let args = Args { check: true };
    Ok(cli(&args)? & man(&args)?)
}

/// Builds all programs and reads the help texts of edge-app and the device programs.
fn read() -> Result<Vec<Help>> {
    let build = ["build", "--quiet", "--workspace", "--bins"];
    shell::run(shell::cargo().args(build))?;
    let programs = std::iter::once("edge-app").chain(sizes::PROGRAMS);
    programs.map(Help::read).collect()
}

fn markdown(programs: &[Help]) -> Pages {
    let mut pages = Pages::new();
    let mut index = String::from(
        "# The programs\n\nWhat `--help` prints, page by page; made by `cargo xtask cli-docs`.\n\n",
    );
    for help in programs {
        let (name, text) = (help.program, &help.text);
        let first = text.lines().next().unwrap_or_default();
        index += &format!("- [{name}]({name}.md): {first}\n");
        let mut page = format!("# {name}\n\n```text\n{text}```\n");
        for (command, text) in &help.commands {
            page += &format!("\n## {name} {command}\n\n```text\n{text}```\n");
        }
        pages.insert(format!("{name}.md"), page);
    }
    pages.insert("README.md".into(), index);
    pages
}

/// Writes the pages of a directory, or with `check` only compares them; returns false if
/// a compared page differs.
fn update(directory: &str, pages: &Pages, command: &str, check: bool) -> Result<bool> {
    let path = shell::repository().join(directory);
    let mut stale = Vec::new();
    for (name, text) in pages {
        if fs::read_to_string(path.join(name)).is_ok_and(|old| old == *text) {
            continue;
        }
        stale.push(name.clone());
        if !check {
            write(&path, name, text)?;
        }
    }
    for entry in fs::read_dir(&path).into_iter().flatten() {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !pages.contains_key(&name) {
            stale.push(name.clone());
            if !check {
                fs::remove_file(path.join(&name))?;
            }
        }
    }
    if check && !stale.is_empty() {
        println!(
            "{directory} is not up to date: {}: run {command}",
            stale.join(", ")
        );
        return Ok(false);
    }
    println!(
        "{directory}: {} pages, {} changed",
        pages.len(),
        stale.len()
    );
    Ok(true)
}

#[expect(clippy::disallowed_methods, reason = "git keeps the pages")]
fn write(directory: &Path, name: &str, text: &str) -> Result<()> {
    fs::create_dir_all(directory)?;
    let path = directory.join(name);
    fs::write(&path, text).with_context(|| format!("writing {}", path.display()))
}
