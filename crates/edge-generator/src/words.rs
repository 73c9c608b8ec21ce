//! Words of a value, with the quotes and escapes of systemd.syntax(7), and back.

/// Word of a value.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Word<'a> {
    /// Text as it is written, with quotes and escapes.
    pub raw: &'a str,
    /// Text without quotes, with escapes replaced. In command lines systemd keeps unknown
    /// ones as they are.
    pub text: String,
    /// Whether there is an escape that systemd does not know.
    pub unknown_escape: bool,
}

/// Splits a value into words at blanks outside of quotes.
pub(crate) fn split(value: &str) -> Result<Vec<Word<'_>>, String> {
    let mut words = Vec::new();
    let mut rest = value.trim_start_matches([' ', '\t']);
    while !rest.is_empty() {
        let word = first(rest)?;
        let length = word.raw.len();
        words.push(word);
        rest = rest[length..].trim_start_matches([' ', '\t']);
    }
    Ok(words)
}

fn first(value: &str) -> Result<Word<'_>, String> {
    let mut text = String::new();
    let mut unknown_escape = false;
    let mut quote = None;
    let mut at = 0;
    while let Some(c) = value[at..].chars().next() {
        match (c, quote) {
            (' ' | '\t', None) => break,
            ('"' | '\'', None) => quote = Some(c),
            (c, Some(q)) if c == q => quote = None,
            ('\\', _) => match escaped(&value[at + 1..]) {
                Some((c, length)) => {
                    text.push(c);
                    at += length;
                }
                None => {
                    text.push(c);
                    unknown_escape = true;
                }
            },
            _ => text.push(c),
        }
        at += c.len_utf8();
    }
    match quote {
        Some(quote) => Err(format!("a quote {quote} is not closed")),
        None => Ok(Word {
            raw: &value[..at],
            text,
            unknown_escape,
        }),
    }
}

/// Returns the character of an escape after its backslash, and the length of the escape.
fn escaped(text: &str) -> Option<(char, usize)> {
    let c = text.chars().next()?;
    let number = |from: usize, digits: usize, radix: u32| {
        let digits = text.get(from..from + digits)?;
        let plain = digits.bytes().all(|b| b.is_ascii_hexdigit());
        let code = u32::from_str_radix(digits, radix).ok().filter(|_| plain)?;
        // Larger values of `\x` are bytes, which need not be characters.
        let known = code != 0 && (code < 0x80 || !matches!(c, 'x' | '0'..='7'));
        char::from_u32(code).filter(|_| known)
    };
    match c {
        'a' => Some(('\x07', 1)),
        'b' => Some(('\x08', 1)),
        'f' => Some(('\x0c', 1)),
        'n' => Some(('\n', 1)),
        'r' => Some(('\r', 1)),
        't' => Some(('\t', 1)),
        'v' => Some(('\x0b', 1)),
        's' => Some((' ', 1)),
        '\\' | '"' | '\'' => Some((c, 1)),
        'x' => Some((number(1, 2, 16)?, 3)),
        'u' => Some((number(1, 4, 16)?, 5)),
        'U' => Some((number(1, 8, 16)?, 9)),
        '0'..='7' => Some((number(0, 3, 8)?, 3)),
        _ => None,
    }
}

/// Returns `text` such that it is a part of one word, in quotes or not, in a command line.
/// A `$` is doubled if systemd expands variables there. Specifiers are kept: systemd
/// replaces them in variables, too.
pub(crate) fn encode(text: &str, expands: bool) -> String {
    let mut encoded = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '$' if expands => encoded.push_str("$$"),
            c if c.is_ascii_alphanumeric() || "_-./:,=+@%$".contains(c) || !c.is_ascii() => {
                encoded.push(c);
            }
            c => encoded.push_str(&format!("\\x{:02x}", u32::from(c))),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_of_systemd() {
        let words = split("a  \"b c\"d 'e\"'\t\\x41\\102\\u0043\\s\\\\ ü").unwrap();
        let texts: Vec<_> = words.iter().map(|w| &*w.text).collect();
        assert_eq!(texts, ["a", "b cd", "e\"", "ABC \\", "ü"]);
        assert_eq!(words[1].raw, "\"b c\"d");
        for wrong in ["\"a", "a'"] {
            assert!(split(wrong).is_err(), "{wrong}");
        }
        for kept in ["\\", "\\q", "\\x4", "\\x00", "\\xff", "\\+41", "\\u+041"] {
            let words = split(kept).unwrap();
            assert!(words[0].unknown_escape && words[0].text == kept, "{kept}");
        }
        assert_eq!(split("\"a\\ b\" c").unwrap()[0].text, "a\\ b");
    }

    #[test]
    fn what_is_encoded_is_read_again() {
        for text in ["plain", "two words", "a\"b'c\\d;e", "new\nline", "ü ß"] {
            for quoted in [encode(text, true), format!("\"{}\"", encode(text, true))] {
                let words = split(&quoted).unwrap();
                assert_eq!((words.len(), &*words[0].text), (1, text));
            }
        }
        assert_eq!(encode("$A%i", true), "$$A%i");
        assert_eq!(encode("$A", false), "$A");
    }
}
