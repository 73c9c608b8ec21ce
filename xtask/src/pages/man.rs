//! Manual pages, generated from help texts: sections have the headings of man-pages(7).

use std::fmt::Write as _;
use std::fs;

use anyhow::{Context, Result};

use super::Pages;
use super::help::Help;
use crate::shell;

/// Headings of sections that contain sentences, whose lines man(1) may fill.
const PROSE: [&str; 2] = ["DESCRIPTION", "EXIT STATUS"];

/// Maximum number of characters of a line that fits 80 columns after the indentation of
/// man(1).
const MAX_INDENTED: usize = 72;

/// Returns a page for each program: in section 8 for the device's programs, which only
/// root and units run, and in section 1 for edge-app.
pub(super) fn pages(programs: &[Help]) -> Result<Pages> {
    let mut pages = Pages::new();
    for help in programs {
        let others = programs.iter().map(|h| h.program);
        let others = others.filter(|other| *other != help.program);
        let page = page(help, &description(help.program)?, others)?;
        pages.insert(format!("{}.{}", help.program, section(help.program)), page);
    }
    Ok(pages)
}

fn section(program: &str) -> u8 {
    if program == "edge-app" { 1 } else { 8 }
}

/// Reads the `description` of a crate in `crates/` from its manifest.
fn description(program: &str) -> Result<String> {
    let manifest = shell::repository().join(format!("crates/{program}/Cargo.toml"));
    let text = fs::read_to_string(&manifest).context("reading a manifest")?;
    let line = text
        .lines()
        .find_map(|l| l.strip_prefix("description = \""));
    let description = line.and_then(|l| l.strip_suffix('"'));
    let description = description.with_context(|| format!("{program} has no description"))?;
    Ok(description.into())
}

fn page<'a>(
    help: &Help,
    description: &str,
    others: impl Iterator<Item = &'a str>,
) -> Result<String> {
    let (program, section) = (help.program, section(help.program));
    let title = program.to_uppercase();
    let mut page = format!(
        ".\\\" Made by `cargo xtask man`: do not edit.\n\
         .TH {title} {section} \"\" \"Edge AI {}\" \"Edge AI Secure Image\"\n\
         .SH NAME\n{program} \\- {}\n",
        env!("CARGO_PKG_VERSION"),
        escape(description)
    );
    for (heading, lines) in sections(&help.text) {
        block(&mut page, &heading, &lines)?;
    }
    for (command, text) in &help.commands {
        let lines: Vec<_> = text.lines().collect();
        let heading = format!("{program} {command}").to_uppercase();
        block(&mut page, &heading, &lines)?;
    }
    let mut others: Vec<_> = others
        .map(|other| {
            format!(
                ".BR {} ({})",
                other.replace('-', "\\-"),
                self::section(other)
            )
        })
        .collect();
    others.sort();
    writeln!(page, ".SH SEE ALSO\n{}", others.join(" ,\n"))?;
    Ok(page)
}

/// Appends a section to a page. man(1) fills the lines of sentences; preformatted text,
/// such as a list of options, stays unchanged.
fn block(page: &mut String, heading: &str, lines: &[&str]) -> Result<()> {
    writeln!(page, ".SH \"{heading}\"")?;
    let sentences = PROSE.contains(&heading) && !lines.iter().any(|l| l.starts_with(' '));
    if !sentences {
        // Lines that would be too wide for a terminal after man(1)'s indentation are not
        // indented.
        let wide = lines.iter().any(|l| l.chars().count() > MAX_INDENTED);
        writeln!(page, ".nf{}", if wide { "\n.in 0" } else { "" })?;
    }
    for line in lines {
        match *line {
            "" if sentences => writeln!(page, ".PP")?,
            line => writeln!(page, "{}", escape(line))?,
        }
    }
    if !sentences {
        writeln!(page, ".fi")?;
    }
    Ok(())
}

/// Divides a help text into sections by its headings: `Options:` alone on a line, or
/// `Usage: x`.
fn sections(help: &str) -> Vec<(String, Vec<&str>)> {
    let mut sections: Vec<(String, Vec<&str>)> = vec![("DESCRIPTION".into(), Vec::new())];
    let mut indent = 0;
    for line in help.lines() {
        let heading = line.split_once(':').and_then(|(word, rest)| {
            Some((heading(word)?, rest)).filter(|_| rest.is_empty() || rest.starts_with(' '))
        });
        if let Some((heading, rest)) = heading {
            // Continuation lines of the text after `Usage: ` are aligned with it; their
            // indentation is removed.
            let inline = !rest.is_empty();
            indent = if inline {
                line.len() - rest.trim_start().len()
            } else {
                0
            };
            sections.push((heading, vec![rest.trim_start()]));
        } else if let Some((_, lines)) = sections.last_mut() {
            let below = indent > 0 && line.starts_with(&" ".repeat(indent));
            lines.push(if below { &line[indent..] } else { line });
        }
    }
    for (_, lines) in &mut sections {
        let blank = |line: &&&str| line.trim().is_empty();
        let leading = lines.iter().take_while(blank).count();
        lines.drain(..leading);
        let trailing = lines.iter().rev().take_while(blank).count();
        lines.truncate(lines.len() - trailing);
    }
    // man-pages(7) requires the synopsis before the description.
    sections.sort_by_key(|(heading, _)| heading != "SYNOPSIS");
    sections
}

/// Returns the heading of man-pages(7) for a heading of a help text; `None` for other
/// text.
fn heading(word: &str) -> Option<String> {
    let heading = match word {
        "Usage" => "SYNOPSIS",
        "Exit codes" => "EXIT STATUS",
        "Example" | "Examples" => "EXAMPLES",
        "Commands" | "Arguments" | "Options" | "Environment" | "Files" => {
            return Some(word.to_uppercase());
        }
        _ if word.starts_with("Rules of ") => return Some(word.to_uppercase()),
        _ => return None,
    };
    Some(heading.into())
}

/// Escapes a line so that roff prints it unchanged.
fn escape(line: &str) -> String {
    let escaped = line.replace('\\', "\\e").replace('-', "\\-");
    // At the beginning of a line, `.` and `'` would start a roff request.
    if escaped.starts_with(['.', '\'']) {
        return format!("\\&{escaped}");
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn divides_a_help_text_at_its_headings() {
        let help = "Does it.\n\nUsage: a B\n       a C\n\nOptions:\n  -x: y\n        z\n\nExit codes: 0 done,\n1 failed\n";
        let sections = sections(help);
        let headings: Vec<_> = sections.iter().map(|(h, _)| h.as_str()).collect();
        assert_eq!(
            headings,
            ["SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXIT STATUS"]
        );
        assert_eq!(sections[0].1, ["a B", "a C"]);
        assert_eq!(sections[2].1, ["  -x: y", "        z"]);
        assert_eq!(sections[3].1, ["0 done,", "1 failed"]);
    }

    #[test]
    fn text_is_no_request_to_roff() {
        assert_eq!(escape(".x -y"), "\\&.x \\-y");
        assert_eq!(escape("a\\b"), "a\\eb");
    }
}
