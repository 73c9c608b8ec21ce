//! Parser of `env_file`: lines `NAME=VALUE` in the format of compose files.

use crate::values::environment::check_name;
use crate::yaml::{Place, Problem};

/// Parses the lines of a file. Values are as written but for quotes and the escapes in
/// double quotes; nothing is replaced.
///
/// # Errors
/// A line is no assignment, or a quote has no end.
pub(crate) fn parse(text: &str) -> Result<Vec<(String, String)>, Problem> {
    let mut variables: Vec<(String, String)> = Vec::new();
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    for (index, line) in text.lines().enumerate() {
        let place = Place {
            line: index + 1,
            column: 1,
        };
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").unwrap_or(line);
        let Some((name, value)) = line.split_once('=') else {
            let text = format!("{line:?} has no value: write NAME=VALUE");
            return Err(Problem::new(place, text));
        };
        let name = name.trim();
        check_name(place, name)?;
        let value = unquoted(value.trim()).map_err(|why| Problem::new(place, why))?;
        if value.contains(char::is_control) {
            let text = format!("{name}: control characters are not allowed in a value");
            return Err(Problem::new(place, text));
        }
        // As in compose files, the last of several lines holds.
        variables.retain(|(other, _)| other != name);
        variables.push((name.into(), value));
    }
    Ok(variables)
}

/// Removes the quotes of a value, and the comment behind it.
fn unquoted(text: &str) -> Result<String, String> {
    let Some(quote) = text.chars().next().filter(|c| "'\"".contains(*c)) else {
        // A comment needs a blank before it: `a#b` is a value.
        let end = [" #", "\t#"].iter().filter_map(|c| text.find(c)).min();
        let value = &text[..end.unwrap_or(text.len())];
        return Ok(if value.starts_with('#') {
            ""
        } else {
            value.trim_end()
        }
        .into());
    };
    let mut value = String::new();
    let mut letters = text.chars().skip(1);
    while let Some(letter) = letters.next() {
        match letter {
            '\\' if quote == '"' => match letters.next() {
                Some('n') => value.push('\n'),
                Some('r') => value.push('\r'),
                Some('t') => value.push('\t'),
                Some(escaped @ ('"' | '\\' | '$')) => value.push(escaped),
                Some(other) => value.extend(['\\', other]),
                None => break,
            },
            letter if letter == quote => {
                let rest: String = letters.collect();
                let rest = rest.trim();
                if rest.is_empty() || rest.starts_with('#') {
                    return Ok(value);
                }
                return Err(format!("{rest:?} stands behind the quotes"));
            }
            other => value.push(other),
        }
    }
    Err(format!("the quote {quote} has no end on its line"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_as_compose_reads_them() {
        let text = "\u{feff}# comment\r\nA=1.10\r\n\nexport B = 'x # y' # z\nC=\"a \\\"b\\\" \\$D\"\n\
                    E=a#b # c\nF=\nG=#\n  H=0x1F  \nI=\"\"\nJ=a=b\nA=2\nK='it''\n";
        let error = parse(text).unwrap_err();
        assert_eq!(error.place.line, 13, "{}", error.text);
        let variables = parse(&text.replace("K='it''\n", "")).unwrap();
        let joined: Vec<_> = variables.iter().map(|(n, v)| format!("{n}:{v}")).collect();
        assert_eq!(
            joined,
            [
                "B:x # y",
                "C:a \"b\" $D",
                "E:a#b",
                "F:",
                "G:",
                "H:0x1F",
                "I:",
                "J:a=b",
                "A:2"
            ]
        );
    }

    #[test]
    fn lines_that_are_no_assignment() {
        for text in [
            "A",
            "=b",
            "A B=c",
            "1A=b",
            "A='b",
            "A=\"b",
            "A=\"b\\",
            "A='b' c",
            "A=\"\\n\"",
            "A=\u{1b}[0m",
            "A=\0",
            "é=1",
            "- A=b",
            "{\"A\": 1}",
        ] {
            assert!(parse(text).is_err(), "{text:?}");
        }
    }
}
