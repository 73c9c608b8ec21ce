//! Logical lines of unit files in the syntax of systemd.syntax(7). A file that systemd
//! could split into other lines than this parser is refused, because a forbidden key
//! could be hidden there. Examples are a carriage return, and a backslash before a blank.

/// Content of a line of a unit file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Line<'a> {
    /// `[Section]`.
    Section(&'a str),
    /// `key=value`, without the blanks around both.
    Assignment(&'a str, &'a str),
    /// Line that is refused, for this reason.
    Fault(String),
}

/// Calls `each` with every logical line and its number: comments are skipped and
/// continuation lines are joined. After a faulty line, reading goes on, so that the
/// author learns of all faults at once.
pub(crate) fn for_each(text: &str, mut each: impl FnMut(usize, Line<'_>)) {
    let text = without_windows(text, &mut each);
    let mut joined = String::new();
    let mut begun = None;
    for (index, raw) in text.split('\n').enumerate() {
        let number = index + 1;
        if let Err(reason) = check_unambiguous(raw, begun.is_some()) {
            each(number, Line::Fault(reason.into()));
        }
        let line = strip(raw);
        if line.starts_with(['#', ';']) || (line.is_empty() && begun.is_none()) {
            continue;
        }
        let part = line.strip_suffix('\\');
        if begun.is_none() && part.is_none() {
            each(number, parsed(line));
            continue;
        }
        let first = *begun.get_or_insert(number);
        joined.push_str(part.unwrap_or(line));
        joined.push(' ');
        if part.is_none() {
            each_joined(&joined, first, &mut each);
            joined.clear();
            begun = None;
        }
    }
    if let Some(first) = begun {
        each_joined(&joined, first, &mut each);
    }
}

fn each_joined(joined: &str, first: usize, each: &mut impl FnMut(usize, Line<'_>)) {
    match strip(joined) {
        "" => {}
        line => each(first, parsed(line)),
    }
}

/// Returns the text without a byte order mark and without the carriage returns of
/// Windows' line ends, both with a fault.
fn without_windows<'a>(
    text: &'a str,
    each: &mut impl FnMut(usize, Line<'_>),
) -> std::borrow::Cow<'a, str> {
    let plain = text.strip_prefix('\u{feff}').unwrap_or(text);
    if plain.len() < text.len() {
        let reason = "begins with a byte order mark (BOM): save the file as UTF-8 without one";
        each(1, Line::Fault(reason.into()));
    }
    let Some(at) = plain.find("\r\n") else {
        return plain.into();
    };
    let reason = "ends in CR LF, as Windows writes lines: convert the file, for example with \
                  sed -i 's/\\r$//' FILE";
    let number = plain.bytes().take(at).filter(|b| *b == b'\n').count() + 1;
    each(number, Line::Fault(reason.into()));
    plain.replace("\r\n", "\n").into()
}

fn parsed(line: &str) -> Line<'_> {
    if let Some(section) = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')) {
        return Line::Section(section);
    }
    match line.split_once('=') {
        Some((key, value)) => Line::Assignment(strip(key), strip(value)),
        None => Line::Fault(format!(
            "{:?} is neither a section nor key=value: end the line before it with \\ to continue it",
            line.chars().take(40).collect::<String>()
        )),
    }
}

/// Strips spaces and tabs, as systemd does. Other white space of Unicode is kept, so
/// that a key with such a character is refused as unknown.
fn strip(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

/// Refuses a line that systemd and this parser could interpret differently.
fn check_unambiguous(raw: &str, continued: bool) -> Result<(), &'static str> {
    if raw.contains(|c: char| c.is_control() && c != '\t') {
        return Err("contains a control character: remove it");
    }
    let line = strip(raw);
    // systemd counts backslashes, and looks for a continuation before it strips blanks.
    // To systemd neither of these lines is continued.
    if line.ends_with("\\\\") {
        return Err("ends in several backslashes: one continues the line");
    }
    if line.ends_with('\\') && !raw.ends_with('\\') {
        return Err("ends in a backslash and blanks: remove the blanks to continue the line");
    }
    if continued && line.starts_with(';') {
        // This parser skips such a line as a comment, but old versions of systemd read
        // a second command.
        return Err("begins with \";\" and continues a line: write comments with #");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the lines as text.
    fn read(text: &str) -> Vec<String> {
        let mut lines = Vec::new();
        for_each(text, |number, line| {
            lines.push(match line {
                Line::Section(name) => format!("{number} [{name}]"),
                Line::Assignment(key, value) => format!("{number} {key}={value}"),
                Line::Fault(reason) => {
                    format!("{number} fault {}", &reason[..reason.len().min(20)])
                }
            });
        });
        lines
    }

    #[test]
    fn lines_are_joined_and_comments_skipped() {
        assert_eq!(
            read("[Unit]\n# a\n  A = b c \n\nB=1 \\\n # between\n  2\n; x\nC=\\"),
            ["1 [Unit]", "3 A=b c", "5 B=1  2", "9 C="]
        );
    }

    #[test]
    fn files_of_windows_have_one_fault_and_are_read_on() {
        assert_eq!(
            read("\u{feff}[Unit]\r\nA=b\r\nword\r\n"),
            [
                "1 fault begins with a byte o",
                "1 fault ends in CR LF, as Wi",
                "1 [Unit]",
                "2 A=b",
                "3 fault \"word\" is neither a "
            ]
        );
        assert_eq!(
            read("A=b\rC=d"),
            ["1 fault contains a control c", "1 A=b\rC=d"]
        );
    }
}
