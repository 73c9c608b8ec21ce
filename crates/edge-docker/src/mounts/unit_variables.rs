//! Variables in the syntax of `EnvironmentFile=`, systemd.exec(5): quotes, escapes and
//! continued lines, unlike in docker's files.

use anyhow::Result;
use edge_docker_policy::cli::values;
use edge_docker_policy::refusal::refuse;

/// Parses the text of a file. systemd skips lines that are no assignment; here they are
/// errors, because an app would start without a variable that somebody wrote.
pub(crate) fn parse(text: &str) -> Result<Vec<String>> {
    let mut rest = text.trim_start_matches('\u{feff}');
    let mut variables = Vec::new();
    loop {
        rest = rest.trim_start_matches([' ', '\t', '\n', '\r']);
        if rest.is_empty() {
            return Ok(variables);
        }
        if rest.starts_with(['#', ';']) {
            rest = comment_end(rest);
            continue;
        }
        let number = text.len() - rest.len();
        let number = text[..number].matches('\n').count() + 1;
        let fail = |reason: &str| refuse(format_args!("line {number}: {reason}"));
        let line = rest.split('\n').next().unwrap_or_default();
        let (name, _) = line.split_once('=').ok_or_else(|| fail("not NAME=VALUE"))?;
        let start = name.len() + 1;
        let name = name.trim_end_matches([' ', '\t']);
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty()
            || name.starts_with(|c: char| c.is_ascii_digit())
            || !name.chars().all(plain)
        {
            return Err(fail(
                "the name is not of letters, digits and _: write NAME=VALUE without export",
            ));
        }
        let (value, length) = value(&rest[start..]).ok_or_else(|| fail("a quote is not closed"))?;
        if value.contains('\0') {
            return Err(fail("the value has a NUL character"));
        }
        variables.push(values::environment(&format!("{name}={value}"))?);
        rest = &rest[start + length..];
    }
}

/// Returns the text after a comment, which a backslash continues.
fn comment_end(text: &str) -> &str {
    let mut rest = text;
    while let Some((line, after)) = rest.split_once('\n') {
        rest = after;
        if !line.ends_with('\\') {
            return rest;
        }
    }
    ""
}

/// Returns the value at the beginning of `text`, and the length of its source; `None` if a
/// quote is not closed.
fn value(text: &str) -> Option<(String, usize)> {
    let mut value = String::new();
    // Length up to the last character that is not a blank outside of quotes.
    let mut kept = 0;
    let mut quote = None;
    let mut escaped = false;
    for (at, c) in text.char_indices() {
        if escaped {
            escaped = false;
            // In double quotes only these characters lose their backslash.
            if quote == Some('"') && !"\"\\`$\n".contains(c) {
                value.push('\\');
            }
            if c != '\n' {
                value.push(c);
            }
            kept = value.len();
            continue;
        }
        match (c, quote) {
            ('\n', None) => {
                value.truncate(kept);
                return Some((value, at));
            }
            ('\\', None | Some('"')) => escaped = true,
            (c, Some(q)) if c == q => quote = None,
            ('"' | '\'', None) => {
                // Blanks before a quote are not part of the value at its beginning.
                quote = Some(c);
            }
            (' ' | '\t' | '\r', None) if value.is_empty() => {}
            (' ' | '\t' | '\r', None) => value.push(c),
            (c, _) => {
                value.push(c);
                kept = value.len();
            }
        }
    }
    value.truncate(kept);
    quote.is_none().then_some((value, text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_those_of_systemd() {
        let text = concat!(
            "# comment \\\ncontinued\n; another\n\nA=1\n B = two words  \n",
            "C=\"quoted  # text\"\nD='single $x \\n'\nE=\"a\\\"b\\\\c\\d\"\nF=a\\ b\\\nc\n",
            "G=\nH=\"two\nlines\"\nI=a#b;c\r\nJ='a'\"b\"c"
        );
        assert_eq!(
            parse(text).unwrap(),
            [
                "A=1",
                "B=two words",
                "C=quoted  # text",
                "D=single $x \\n",
                "E=a\"b\\c\\d",
                "F=a bc",
                "G=",
                "H=two\nlines",
                "I=a#b;c",
                "J=abc",
            ]
        );
    }

    #[test]
    fn what_systemd_would_skip_is_an_error_with_its_line() {
        for (text, line) in [
            ("A=1\nexport B=2\n", "line 2"),
            ("\n\nword\n", "line 3"),
            ("A=\"open\n", "line 1"),
            ("1A=x", "line 1"),
            ("=x", "line 1"),
            ("A=\0", "line 1"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.contains(line), "{text:?}: {error}");
        }
    }
}
