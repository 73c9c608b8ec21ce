//! Quoting of command arguments for the POSIX shell of a device, and splitting of command
//! lines in `app.yaml`.

/// Puts each argument in single quotes and joins all with blanks. ssh passes a
/// command to the shell of the device as one line, and that shell would interpret
/// every unquoted special character. Inside single quotes every character except
/// `'` is literal.
pub fn quote<'a, T: AsRef<str> + 'a>(arguments: impl Iterator<Item = &'a T>) -> String {
    let quoted: Vec<_> = arguments
        .map(|a| format!("'{}'", a.as_ref().replace('\'', r"'\''")))
        .collect();
    quoted.join(" ")
}

/// Splits a command line at blanks, as compose files take `command` and `entrypoint`:
/// quotes and backslashes as in a shell, but nothing is replaced and no shell runs.
///
/// # Errors
/// A quote has no end, or an operator of the shell stands outside of quotes.
pub(crate) fn split(line: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    // `Some` inside of a word: an empty pair of quotes is a word, too.
    let mut word: Option<String> = None;
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match letter {
            ' ' | '\t' | '\n' => words.extend(word.take()),
            '\'' | '"' => quoted(letter, &mut letters, word.get_or_insert_default())?,
            '\\' => {
                let escaped = letters.next().ok_or("a backslash stands at the end")?;
                word.get_or_insert_default().push(escaped);
            }
            '|' | '&' | ';' | '<' | '>' => {
                return Err(format!(
                    "`{letter}` needs a shell, and none runs: put it in quotes, or write \
                     [sh, -c, \"…\"]"
                ));
            }
            other => word.get_or_insert_default().push(other),
        }
    }
    words.extend(word);
    Ok(words)
}

/// Reads to the end of a quotation that began with `quote`.
fn quoted(quote: char, letters: &mut std::str::Chars, word: &mut String) -> Result<(), String> {
    while let Some(letter) = letters.next() {
        match letter {
            '\\' if quote == '"' => match letters.next() {
                Some(escaped @ ('"' | '\\' | '$' | '`')) => word.push(escaped),
                Some(other) => word.extend(['\\', other]),
                None => break,
            },
            letter if letter == quote => return Ok(()),
            other => word.push(other),
        }
    }
    Err(format!("the quote {quote} has no end"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use edge_common::Root;
    use edge_common::command::CommandExt as _;

    #[test]
    fn a_shell_returns_quoted_arguments() {
        let arguments = [
            "plain",
            "",
            "a b",
            "$(id)",
            "`id`",
            "'",
            "\"",
            "\\",
            "a\nb",
            "; rm -rf /",
            "*",
            "~",
            "!x",
            "-oProxyCommand=id",
            "é",
            "'; id #",
            "a'b'c",
        ];
        let script = format!("printf '%s\\0' {}", quote(arguments.iter()));
        let output = Root::system()
            .command("/bin/sh")
            .args(["-c", &script])
            .read()
            .unwrap();
        assert_eq!(output.split_terminator('\0').collect::<Vec<_>>(), arguments);
    }

    #[test]
    fn command_lines_are_split_without_a_shell() {
        let words = |line: &str| split(line).map(|w| w.join("|"));
        for (line, expected) in [
            ("", ""),
            ("  a  b\tc\n", "a|b|c"),
            ("a 'b c' \"d e\"", "a|b c|d e"),
            ("a '' b", "a||b"),
            ("a\\ b c\\'d", "a b|c'd"),
            (
                r#"sh -c "echo \"x\" \$HOME \n""#,
                r#"sh|-c|echo "x" $HOME \n"#,
            ),
            ("--a=$HOME `id` $(id) *", "--a=$HOME|`id`|$(id)|*"),
            ("a'b'\"c\"d", "abcd"),
        ] {
            assert_eq!(words(line).as_deref(), Ok(expected), "{line}");
        }
        for line in [
            "a 'b", "\"", "a\\", "a | b", "a && b", "a; b", "a > b", "a < b",
        ] {
            assert!(split(line).is_err(), "{line}");
        }
    }
}
