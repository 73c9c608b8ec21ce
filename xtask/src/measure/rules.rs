//! Limits of the measures, and texts that only one place in the sources may contain.

use std::fs;

use anyhow::{Context, Result};

use super::Crate;
use crate::shell;

/// Relative words with which no doc comment should begin.
const RELATIVE: [&str; 7] = ["What", "Who", "Whom", "Whose", "How", "Where", "Which"];
/// Limit of doc comments that begin with a relative word, in percent of documentation
/// lines.
const MAX_RELATIVE_PERCENT: f64 = 0.5;
/// Minimum of inline comments in percent of code lines, for the crates in [`COMMENTED`],
/// whose design most needs reasons.
const MIN_COMMENTS_PERCENT: f64 = 3.0;
const COMMENTED: [&str; 4] = [
    "edge-docker",
    "edge-signature",
    "edge-provision",
    "edge-app",
];
/// Synonym of "directory" that comments and messages must not contain.
pub(super) const FOLDER: &str = "folder";
/// Restricted texts: the text, the only path below which sources may contain it, and the
/// reason.
const ONE_PLACE: [(&str, &str, &str); 2] = [
    (
        "\"edge.",
        "crates/edge-common/src/contract",
        "labels and annotations are constants of edge_common::contract",
    ),
    (
        "contains(\"(404)\")",
        "/nowhere",
        "control flow never depends on the text of an error",
    ),
];

/// Returns whether a doc comment begins with a relative word.
pub(super) fn is_relative(doc: &str) -> bool {
    let end = doc.find(|c: char| !c.is_alphanumeric());
    RELATIVE.contains(&&doc[..end.unwrap_or(doc.len())]) || doc.starts_with("That which")
}

/// Returns whether a doc comment is a question; list items are exempt.
pub(super) fn is_question(doc: &str) -> bool {
    doc.ends_with('?') && !doc.starts_with("- ")
}

/// Returns whether a text contains [`FOLDER`]. The word is permitted in backticks or
/// quotes, or as the whole string: then it is a quotation of another program's format.
pub(super) fn says_folder(text: &str) -> bool {
    let mut plain = text.split(['`', '"']).step_by(2).map(str::to_lowercase);
    text != FOLDER && plain.any(|t| t.contains(FOLDER))
}

/// Returns whether a line declares a public item of a crate (`pub`, not `pub(crate)`).
pub(super) fn is_public(code: &str) -> bool {
    let item = code.trim_start().strip_prefix("pub ");
    let kinds = [
        "fn ",
        "struct ",
        "enum ",
        "const ",
        "static ",
        "trait ",
        "type ",
        "mod ",
        "use ",
        "async fn ",
    ];
    item.is_some_and(|i| kinds.iter().any(|k| i.starts_with(k)))
}

/// Returns a line for each measure that is over its limit.
pub(super) fn findings(crates: &[Crate]) -> Result<Vec<String>> {
    let mut findings = Vec::new();
    for measured in crates {
        let name = &measured.name;
        for cycle in &measured.cycles {
            let modules: Vec<_> = cycle.iter().map(|m| m.join("::")).collect();
            findings.push(format!(
                "{name}: modules import each other: {}",
                modules.join(", ")
            ));
        }
        if measured.relative_share() >= MAX_RELATIVE_PERCENT {
            let each = |place: &String| format!("{place}: begins with a relative word");
            findings.extend(measured.relative.iter().map(each));
        }
        findings.extend(
            measured
                .questions
                .iter()
                .map(|p| format!("{p}: is a question")),
        );
        findings.extend(
            measured
                .folders
                .iter()
                .map(|p| format!("{p}: say directory")),
        );
        let share = measured.comments_share();
        if COMMENTED.contains(&name.as_str()) && share < MIN_COMMENTS_PERCENT {
            findings.push(format!(
                "{name}: {share:.1} % of the lines of code have a comment, {MIN_COMMENTS_PERCENT} % is the least"
            ));
        }
    }
    findings.extend(one_place()?);
    Ok(findings)
}

fn one_place() -> Result<Vec<String>> {
    let list = shell::read(shell::command("git").args([
        "ls-files",
        "-co",
        "--exclude-standard",
        "crates/*/src/*.rs",
    ]))?;
    let mut findings = Vec::new();
    for file in list.lines() {
        let path = shell::repository().join(file);
        if !path.exists() {
            continue;
        }
        let text = fs::read_to_string(&path).with_context(|| format!("reading {file}"))?;
        for (number, line) in (1..).zip(text.lines()) {
            for (literal, place, reason) in ONE_PLACE {
                if line.contains(literal) && !file.starts_with(place) {
                    findings.push(format!("{file}:{number}: {literal}: {reason}"));
                }
            }
        }
    }
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_words_of_documentation() {
        assert!(is_relative("What ends a wait.") && is_relative("Where"));
        assert!(!is_relative("Whatever") && !is_relative("The what"));
        assert!(is_question("Writable?") && !is_question("- a?"));
        assert!(says_folder("a Folder of `x`"));
        assert!(!says_folder("the key `folder` of kas") && !says_folder(FOLDER));
    }

    #[test]
    fn public_items() {
        assert!(is_public("    pub fn a() {") && is_public("pub use b;"));
        assert!(!is_public("pub(crate) fn a() {") && !is_public("    pub field: u8,"));
    }
}
