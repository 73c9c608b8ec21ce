//! `docs/cli/`: a page for each program, made of what its `--help` prints.

use std::collections::BTreeMap;
use std::fs;
use std::process::Stdio;

use anyhow::{Context, Result, bail};

use crate::{shell, sizes};

/// Where the pages are, below the repository.
const DIRECTORY: &str = "docs/cli";

/// How.
#[derive(clap::Args)]
pub struct Args {
    /// Write nothing; say which pages are not as they would be written
    #[arg(long)]
    check: bool,
}

/// Writes or checks the pages; false if a page is not as it should be.
///
/// # Errors
/// A program that does not build or does not say how it is used.
pub fn run(args: &Args) -> Result<bool> {
    let directory = shell::repository().join(DIRECTORY);
    let pages = pages()?;
    let mut stale = Vec::new();
    for (name, text) in &pages {
        let path = directory.join(name);
        if fs::read_to_string(&path).is_ok_and(|old| old == *text) {
            continue;
        }
        stale.push(name.clone());
        if !args.check {
            fs::create_dir_all(&directory)?;
            put(&path, text)?;
        }
    }
    for entry in fs::read_dir(&directory).into_iter().flatten() {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if !pages.contains_key(&name) {
            stale.push(name.clone());
            if !args.check {
                fs::remove_file(directory.join(&name))?;
            }
        }
    }
    if args.check && !stale.is_empty() {
        println!("{DIRECTORY} is not up to date: {}", stale.join(", "));
        println!("run cargo xtask cli-docs");
        return Ok(false);
    }
    println!(
        "{DIRECTORY}: {} pages, {} changed",
        pages.len(),
        stale.len()
    );
    Ok(true)
}

#[expect(clippy::disallowed_methods, reason = "git keeps the pages")]
fn put(path: &std::path::Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("writing {}", path.display()))
}

/// `cli-docs --check`.
///
/// # Errors
/// As [`run`].
pub fn check() -> Result<bool> {
    run(&Args { check: true })
}

fn pages() -> Result<BTreeMap<String, String>> {
    shell::run(shell::cargo().args(["build", "--quiet"]))?;
    shell::run(shell::cargo().args(["build", "--quiet", "-p", "edge-app"]))?;
    let mut pages = BTreeMap::new();
    let mut index = String::from(
        "# The programs\n\nWhat `--help` prints, page by page; made by `cargo xtask cli-docs`.\n\n",
    );
    for program in std::iter::once("edge-app").chain(sizes::PROGRAMS) {
        let help = help(program, &[])?;
        let first = help.lines().next().unwrap_or_default();
        index += &format!("- [{program}]({program}.md): {first}\n");
        let mut page = format!("# {program}\n\n```text\n{help}```\n");
        for verb in verbs(&help) {
            let words = self::help(program, &[verb])?;
            // A program with one page of help prints it for every command.
            if words != help {
                page += &format!("\n## {program} {verb}\n\n```text\n{words}```\n");
            }
        }
        pages.insert(format!("{program}.md"), page);
    }
    pages.insert("README.md".into(), index);
    Ok(pages)
}

/// Commands that a help text lists.
fn verbs(help: &str) -> Vec<&str> {
    let behind = help.lines().skip_while(|l| *l != "Commands:").skip(1);
    let listed = behind.take_while(|l| !l.is_empty());
    let names = listed.filter_map(|l| l.strip_prefix("  ")?.split(' ').next());
    names
        .map(|n| n.trim_end_matches(','))
        .filter(|n| !n.is_empty() && *n != "help")
        .collect()
}

/// What a program prints; no terminal's width has a say.
fn help(program: &str, verb: &[&str]) -> Result<String> {
    let path = shell::target()?.join("debug").join(program);
    let output = shell::command(&path)
        .args(verb)
        .arg("--help")
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("running {program} --help"))?;
    let text = String::from_utf8(output.stdout)?;
    if !output.status.success() || text.is_empty() {
        bail!("{program} {verb:?} --help: {}", output.status);
    }
    if let Some(line) = text.lines().find(|l| l.chars().count() > 80) {
        bail!("{program} {verb:?} --help: longer than 80 columns: {line}");
    }
    if !text.contains("Example") {
        bail!("{program} {verb:?} --help: shows no example");
    }
    let text: Vec<_> = text.lines().map(str::trim_end).collect();
    Ok(text.join("\n").trim_end().to_string() + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_of_a_help_text() {
        let help = "X\n\nCommands:\n  run, create A  B\n                 more\n  help  C\n\nOptions:\n  -h\n";
        assert_eq!(verbs(help), ["run"]);
    }
}
