//! Parser that divides the lines of Rust source files into code, comments, documentation
//! and strings.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// Line of a source file, divided into its parts.
#[derive(Default)]
pub(super) struct Line {
    /// Code without comments and without the content of strings.
    pub(super) code: String,
    /// Content of the strings on this line, without their quotes.
    pub(super) text: String,
    /// Text of an ordinary comment (`//`), if there is one.
    pub(super) comment: Option<String>,
    /// Text of a doc comment (`///` or `//!`) without its marker.
    pub(super) doc: Option<String>,
    /// Whether the line is empty or only has white space.
    pub(super) blank: bool,
    /// Line number in the file, from 1.
    pub(super) number: usize,
}

/// Parsed source file: lines outside of its tests, and the modules that are only for
/// tests.
pub(super) struct Source {
    pub(super) lines: Vec<Line>,
    /// Names in declarations `#[cfg(test)] mod NAME;`, whose files contain only tests.
    pub(super) test_modules: Vec<String>,
    /// Number of lines of the file, including the tests.
    pub(super) length: usize,
}

impl Source {
    pub(super) fn read(path: &Path) -> Result<Self> {
        let text =
            fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        Ok(Self::parse(&text))
    }

    fn parse(text: &str) -> Self {
        let mut lexer = Lexer::default();
        let numbered = text.lines().zip(1..);
        let all: Vec<_> = numbered.map(|(line, n)| lexer.line(line, n)).collect();
        let length = all.len();
        let (lines, test_modules) = without_tests(all);
        Self {
            lines,
            test_modules,
            length,
        }
    }

    /// Returns the code of all lines, without comments, joined by line breaks.
    pub(super) fn code(&self) -> String {
        let lines: Vec<_> = self.lines.iter().map(|l| l.code.as_str()).collect();
        lines.join("\n")
    }

    /// Returns the number of lines of each function, from its signature to its closing
    /// brace.
    pub(super) fn functions(&self) -> Vec<usize> {
        let starts = (0..self.lines.len()).filter(|&n| is_function(&self.lines[n].code));
        let length = |start: usize| Some(end(&self.lines[start..])?.1 + 1);
        let bodies =
            starts.filter(|&start| end(&self.lines[start..]).is_some_and(|(has_body, _)| has_body));
        bodies.filter_map(length).collect()
    }
}

/// State of the lexer, kept from one line to the next.
#[derive(Default)]
enum State {
    #[default]
    Code,
    /// Inside a string; the number of `#` in the delimiter if it is a raw string.
    Text(Option<usize>),
    /// Inside block comments, with the depth of nesting.
    Comment(usize),
}

/// Lexer with a state that continues over lines, as strings and block comments do.
#[derive(Default)]
struct Lexer(State);

impl Lexer {
    fn line(&mut self, line: &str, number: usize) -> Line {
        let mut found = Line {
            blank: line.trim().is_empty(),
            number,
            ..Line::default()
        };
        let mut rest = line;
        while !rest.is_empty() {
            rest = match self.0 {
                State::Code => self.code(rest, &mut found),
                State::Text(hashes) => self.text(rest, hashes, &mut found),
                State::Comment(depth) => self.comment(rest, depth, &mut found),
            };
        }
        found
    }

    fn code<'a>(&mut self, rest: &'a str, line: &mut Line) -> &'a str {
        for (prefix, is_doc) in [("////", false), ("///", true), ("//!", true), ("//", false)] {
            if let Some(comment) = rest.strip_prefix(prefix) {
                let kind = if is_doc {
                    &mut line.doc
                } else {
                    &mut line.comment
                };
                *kind = Some(comment.trim().to_string());
                return "";
            }
        }
        if let Some(rest) = rest.strip_prefix("/*") {
            self.0 = State::Comment(1);
            line.comment.get_or_insert_default();
            return rest;
        }
        if let Some((hashes, rest)) = string_start(rest, &line.code) {
            self.0 = State::Text(hashes);
            line.code.push('"');
            return rest;
        }
        if let Some(length) = character(rest) {
            line.code.push_str("' '");
            return &rest[length..];
        }
        let first = rest.chars().next().unwrap_or_default();
        line.code.push(first);
        &rest[first.len_utf8()..]
    }

    fn text<'a>(&mut self, rest: &'a str, hashes: Option<usize>, line: &mut Line) -> &'a str {
        let close = format!("\"{}", "#".repeat(hashes.unwrap_or(0)));
        if let Some(rest) = rest.strip_prefix(&close) {
            self.0 = State::Code;
            line.code.push('"');
            return rest;
        }
        let mut letters = rest.chars();
        let mut taken = letters.next().map_or(0, char::len_utf8);
        if hashes.is_none() && rest.starts_with('\\') {
            taken += letters.next().map_or(0, char::len_utf8);
        }
        line.text.push_str(&rest[..taken]);
        &rest[taken..]
    }

    fn comment<'a>(&mut self, rest: &'a str, depth: usize, line: &mut Line) -> &'a str {
        if let Some(rest) = rest.strip_prefix("*/") {
            self.0 = if depth == 1 {
                State::Code
            } else {
                State::Comment(depth - 1)
            };
            return rest;
        }
        if let Some(rest) = rest.strip_prefix("/*") {
            self.0 = State::Comment(depth + 1);
            return rest;
        }
        let first = rest.chars().next().unwrap_or_default();
        line.comment.get_or_insert_default().push(first);
        &rest[first.len_utf8()..]
    }
}

/// Parses the beginning of a string: returns the number of `#` (`None` for a string that
/// is not raw) and the rest of the line.
fn string_start<'a>(rest: &'a str, before: &str) -> Option<(Option<usize>, &'a str)> {
    if let Some(rest) = rest.strip_prefix('"') {
        return Some((None, rest));
    }
    if before.ends_with(|c: char| c.is_alphanumeric() || c == '_') && !before.ends_with('b') {
        return None;
    }
    let raw = rest.strip_prefix('r')?;
    let behind = raw.trim_start_matches('#');
    let rest = behind.strip_prefix('"')?;
    Some((Some(raw.len() - behind.len()), rest))
}

/// Returns the length of a character literal in bytes; `None` for a lifetime such as
/// `'a`.
fn character(rest: &str) -> Option<usize> {
    let inside = rest.strip_prefix('\'')?;
    if inside.starts_with('\\') {
        return Some(inside[2..].find('\'')? + 4);
    }
    let letter = inside.chars().next()?.len_utf8();
    inside[letter..].starts_with('\'').then_some(letter + 2)
}

/// Removes each item after `#[cfg(test)]`; returns the other lines and the names of test
/// modules in other files.
fn without_tests(all: Vec<Line>) -> (Vec<Line>, Vec<String>) {
    let mut kept = Vec::new();
    let mut modules = Vec::new();
    let mut skipped_until = 0;
    for number in 0..all.len() {
        if number < skipped_until || all[number].code.trim() != "#[cfg(test)]" {
            continue;
        }
        let attribute =
            |l: &&Line| l.code.trim_start().starts_with('#') || l.code.trim().is_empty();
        let item = number + all[number..].iter().take_while(attribute).count();
        let length = end(&all[item..]).map_or(1, |(_, last)| last + 1);
        let module = all
            .get(item)
            .and_then(|l| l.code.trim().strip_prefix("mod "));
        modules.extend(module.and_then(|m| m.strip_suffix(';')).map(String::from));
        kept.push(number..item + length);
        skipped_until = item + length;
    }
    let mut lines = all;
    for range in kept.into_iter().rev() {
        lines.drain(range.start..range.end.min(lines.len()));
    }
    (lines, modules)
}

/// Returns whether the item at the beginning has a body in braces, and the index of its
/// last line.
fn end(lines: &[Line]) -> Option<(bool, usize)> {
    let (mut braces, mut brackets) = (0_i32, 0_i32);
    for (number, line) in lines.iter().enumerate() {
        for letter in line.code.chars() {
            match letter {
                '(' | '[' => brackets += 1,
                ')' | ']' => brackets -= 1,
                '{' => braces += 1,
                '}' => {
                    braces -= 1;
                    if braces == 0 && brackets == 0 {
                        return Some((true, number));
                    }
                }
                ';' if braces == 0 && brackets == 0 => return Some((false, number)),
                _ => (),
            }
        }
    }
    None
}

fn is_function(code: &str) -> bool {
    let mut parts = code.split_whitespace().peekable();
    if parts.peek().is_some_and(|w| w.starts_with("pub")) {
        // `pub(in crate::x)` contains a blank, so its second word is skipped as well.
        while parts
            .next()
            .is_some_and(|w| w.contains('(') && !w.ends_with(')'))
        {}
    }
    let qualifier = |w: &&str| matches!(*w, "const" | "async" | "unsafe" | "extern" | "\"\"");
    parts.find(|w| !qualifier(w)) == Some("fn")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tells_code_comments_and_strings_apart() {
        let source = Source::parse(
            "//! Crate.\n/// Doc.\nlet a = \"x // {\"; // why\nlet b = '\"'; /* c\nd */ let c: &'a str = r#\"y \" {\"#;\n",
        );
        let docs: Vec<_> = source
            .lines
            .iter()
            .filter_map(|l| l.doc.as_deref())
            .collect();
        assert_eq!(docs, ["Crate.", "Doc."]);
        let line = &source.lines[2];
        assert_eq!(
            (&*line.text, line.comment.as_deref()),
            ("x // {", Some("why"))
        );
        assert!(source.lines[3].code.starts_with("let b = ' '; "));
        assert_eq!(source.lines[4].text, "y \" {");
        assert!(source.lines[4].code.contains("&'a str"));
    }

    #[test]
    fn leaves_tests_out() {
        let source = Source::parse(
            "fn a() {\n}\n#[cfg(test)]\nmod probe;\n#[cfg(test)]\n#[allow(x)]\nmod tests {\n  fn b() {}\n}\nfn c();\n",
        );
        assert_eq!(source.lines.len(), 3);
        assert_eq!(source.test_modules, ["probe"]);
        assert_eq!(source.functions(), [2]);
        assert_eq!(source.length, 10);
    }

    #[test]
    fn lines_of_functions() {
        let source = Source::parse(
            "pub(in crate::a) const fn a(x: [u8; 4]) -> u8 {\n  1\n}\nfn b(\n) {}\ntrait T {\n  fn c(&self);\n}\n",
        );
        assert_eq!(source.functions(), [3, 2]);
    }
}
