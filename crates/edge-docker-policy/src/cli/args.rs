//! The grammar of docker's command lines: long options, short ones in
//! clusters, values joined or apart, and an end at the first plain word.

use anyhow::Result;

use crate::refusal::refuse;

/// An option that is known.
#[derive(Clone, Copy)]
pub struct Known {
    /// With two dashes, without them here.
    pub long: &'static str,
    /// One letter, or a space.
    pub short: char,
    /// Takes a value?
    pub value: bool,
}

/// A flag.
pub const fn flag(short: char, long: &'static str) -> Known {
    Known {
        long,
        short,
        value: false,
    }
}

/// An option with a value.
pub const fn value(short: char, long: &'static str) -> Known {
    Known {
        long,
        short,
        value: true,
    }
}

/// Options in their order, and the plain words behind them.
#[derive(Debug, PartialEq, Eq)]
pub struct Parsed<'a> {
    /// Name and value; a flag's value is `true` or `false`.
    pub options: Vec<(&'static str, &'a str)>,
    /// The rest.
    pub words: Vec<&'a str>,
}

/// Parses. With `mixed`, options may stand behind plain words too.
///
/// # Errors
/// An option that is not known, by name, with `why` it is refused.
pub fn parse<'a>(
    known: &[Known],
    words: &[&'a str],
    mixed: bool,
    why: impl Fn(&str) -> String,
) -> Result<Parsed<'a>> {
    let mut parsed = Parsed {
        options: Vec::new(),
        words: Vec::new(),
    };
    let mut rest = words.iter().copied();
    while let Some(word) = rest.next() {
        if word == "--" {
            parsed.words.extend(rest);
            break;
        } else if let Some(body) = word.strip_prefix("--") {
            long(known, body, &mut rest, &mut parsed, &why)?;
        } else if let Some(body) = word.strip_prefix('-').filter(|b| !b.is_empty()) {
            cluster(known, body, &mut rest, &mut parsed, &why)?;
        } else {
            parsed.words.push(word);
            if !mixed {
                parsed.words.extend(rest);
                break;
            }
        }
    }
    Ok(parsed)
}

fn long<'a>(
    known: &[Known],
    body: &'a str,
    rest: &mut impl Iterator<Item = &'a str>,
    parsed: &mut Parsed<'a>,
    why: &impl Fn(&str) -> String,
) -> Result<()> {
    let (name, joined) = body
        .split_once('=')
        .map_or((body, None), |(n, v)| (n, Some(v)));
    let option = known
        .iter()
        .find(|k| k.long == name)
        .ok_or_else(|| refuse(why(&format!("--{name}"))))?;
    let value = match (option.value, joined) {
        (_, Some(value)) => value,
        (false, None) => "true",
        (true, None) => rest
            .next()
            .ok_or_else(|| refuse(format_args!("--{name} needs a value")))?,
    };
    take(option, value, parsed)
}

fn cluster<'a>(
    known: &[Known],
    body: &'a str,
    rest: &mut impl Iterator<Item = &'a str>,
    parsed: &mut Parsed<'a>,
    why: &impl Fn(&str) -> String,
) -> Result<()> {
    for (at, letter) in body.char_indices() {
        let found = known.iter().find(|k| k.short == letter && letter != ' ');
        let option = found.ok_or_else(|| refuse(why(&format!("-{letter}"))))?;
        let behind = &body[at + letter.len_utf8()..];
        if !option.value && !behind.starts_with('=') {
            take(option, "true", parsed)?;
            continue;
        }
        let value = match behind.strip_prefix('=').unwrap_or(behind) {
            "" if !behind.starts_with('=') => rest
                .next()
                .ok_or_else(|| refuse(format_args!("-{letter} needs a value")))?,
            value => value,
        };
        return take(option, value, parsed);
    }
    Ok(())
}

fn take<'a>(option: &Known, value: &'a str, parsed: &mut Parsed<'a>) -> Result<()> {
    let value = match (option.value, value) {
        (true, value) => value,
        (false, "1" | "t" | "T" | "true" | "TRUE" | "True") => "true",
        (false, "0" | "f" | "F" | "false" | "FALSE" | "False") => "false",
        (false, other) => {
            return Err(refuse(format_args!(
                "--{} is true or false, not {other}",
                option.long
            )));
        }
    };
    if value.contains('\0') {
        return Err(refuse(format_args!("--{} holds a NUL", option.long)));
    }
    parsed.options.push((option.long, value));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const KNOWN: [Known; 4] = [
        flag('i', "interactive"),
        flag('t', "tty"),
        value('v', "volume"),
        value(' ', "name"),
    ];

    fn parsed(words: &[&'static str]) -> Result<Parsed<'static>> {
        parse(&KNOWN, words, false, |o| format!("no {o}"))
    }

    #[test]
    fn all_spellings_mean_the_same() {
        for words in [
            &["-it", "-v", "a:b", "img", "-x"][..],
            &["-itv", "a:b", "img", "-x"],
            &["-itva:b", "img", "-x"],
            &["-i", "-t", "-v=a:b", "img", "-x"],
            &["--interactive", "--tty=true", "--volume=a:b", "img", "-x"],
            &["-i=1", "-t", "--volume", "a:b", "--", "img", "-x"],
        ] {
            let parsed = parsed(words).unwrap();
            assert_eq!(
                parsed.options,
                [("interactive", "true"), ("tty", "true"), ("volume", "a:b")],
                "{words:?}"
            );
            assert_eq!(parsed.words, ["img", "-x"]);
        }
    }

    #[test]
    fn what_is_not_known_is_named() {
        for (words, named) in [
            (["--privileged=t"], "no --privileged"),
            (["-ix"], "no -x"),
            (["--na"], "no --na"),
            (["-é"], "no -é"),
        ] {
            assert_eq!(parsed(&words).unwrap_err().to_string(), named);
        }
        assert!(
            parsed(&["--name"]).is_err()
                && parsed(&["-v"]).is_err()
                && parsed(&["-i=maybe"]).is_err()
        );
    }
}
