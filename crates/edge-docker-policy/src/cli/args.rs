//! Grammar of docker's command lines: long options, short ones in clusters, values
//! joined or apart, and an end at the first argument that is no option.
//!
//! clap does not parse it: a line must mean here what it means to docker's client, down
//! to `-itva:b` and `-v=a:b`, and a refused option needs its reason. See
//! `docs/decisions/0010-option-parser.md`.

use anyhow::Result;

use crate::refusal::refuse;

/// Option that a command knows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    /// Name, without its two dashes.
    pub long: &'static str,
    /// Letter, or a space for none.
    pub(crate) short: char,
    /// The option takes a value.
    pub(crate) value: bool,
}

/// Returns a flag.
pub(crate) const fn flag(short: char, long: &'static str) -> Known {
    Known {
        long,
        short,
        value: false,
    }
}

/// Returns an option with a value.
pub(crate) const fn value(short: char, long: &'static str) -> Known {
    Known {
        long,
        short,
        value: true,
    }
}

/// Options in their order, and the arguments behind them.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Parsed<'a> {
    /// Name and value of each option; a flag's value is `true` or `false`.
    pub options: Vec<(&'static str, &'a str)>,
    /// Arguments that are no options.
    pub arguments: Vec<&'a str>,
}

impl<'a> Parsed<'a> {
    /// Returns the last value of an option, which counts for docker too.
    pub fn last(&self, option: &str) -> Option<&'a str> {
        let mut last = self.options.iter().rev();
        last.find(|(name, _)| *name == option)
            .map(|(_, value)| *value)
    }

    /// Tells whether a flag is set.
    pub fn is_set(&self, flag: &str) -> bool {
        self.last(flag) == Some("true")
    }
}

/// Placement of options among arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Options end at the first argument: behind it begins a command line of the
    /// container.
    OptionsFirst,
    /// Options may follow arguments.
    Mixed,
}

/// Parses `args`; `refusal` words the error for an option that is not known.
pub(crate) fn parse<'a>(
    known: &[Known],
    args: &[&'a str],
    order: Order,
    refusal: impl Fn(&str) -> String,
) -> Result<Parsed<'a>> {
    let mut parsed = Parsed::default();
    let mut rest = args.iter().copied();
    while let Some(argument) = rest.next() {
        // As in docker's parser, pflag: nothing behind it is an option.
        if argument == "--" {
            parsed.arguments.extend(rest);
            break;
        } else if let Some(body) = argument.strip_prefix("--") {
            long(known, body, &mut rest, &mut parsed, &refusal)?;
        } else if let Some(body) = argument.strip_prefix('-').filter(|b| !b.is_empty()) {
            cluster(known, body, &mut rest, &mut parsed, &refusal)?;
        } else {
            // A bare `-` too: `build -t sandbox/APP -` reads standard input.
            parsed.arguments.push(argument);
            // `run IMAGE --privileged` requests nothing: it is an argument of the program.
            if order == Order::OptionsFirst {
                parsed.arguments.extend(rest);
                break;
            }
        }
    }
    Ok(parsed)
}

/// Parses `--name`, `--name=value` or `--name value`.
fn long<'a>(
    known: &[Known],
    body: &'a str,
    rest: &mut impl Iterator<Item = &'a str>,
    parsed: &mut Parsed<'a>,
    refusal: &impl Fn(&str) -> String,
) -> Result<()> {
    let (name, joined) = body
        .split_once('=')
        .map_or((body, None), |(n, v)| (n, Some(v)));
    // Never a prefix: docker does not abbreviate, and `--priv` must not pass as another.
    let option = known
        .iter()
        .find(|k| k.long == name)
        .ok_or_else(|| refuse(refusal(&format!("--{name}"))))?;
    let value = match (option.value, joined) {
        (_, Some(value)) => value,
        // A flag never takes the next argument: `--rm false` runs an image named false.
        (false, None) => "true",
        // The next argument is the value even if it begins with `-`, as for docker.
        (true, None) => rest
            .next()
            .ok_or_else(|| refuse(format_args!("--{name} needs a value")))?,
    };
    push(option, value, parsed)
}

/// Parses `-it`, `-vVALUE`, `-v=VALUE` or `-v VALUE`.
fn cluster<'a>(
    known: &[Known],
    body: &'a str,
    rest: &mut impl Iterator<Item = &'a str>,
    parsed: &mut Parsed<'a>,
    refusal: &impl Fn(&str) -> String,
) -> Result<()> {
    for (at, letter) in body.char_indices() {
        let found = known.iter().find(|k| k.short == letter && letter != ' ');
        let option = found.ok_or_else(|| refuse(refusal(&format!("-{letter}"))))?;
        let behind = &body[at + letter.len_utf8()..];
        // `-i=false` is a flag with a value, not the letters i, =, f, ….
        if !option.value && !behind.starts_with('=') {
            push(option, "true", parsed)?;
            continue;
        }
        // Docker drops the `=` of `-v=/:/host`. A check that keeps it sees no absolute path,
        // and lets the mount of the whole device pass.
        let value = match behind.strip_prefix('=').unwrap_or(behind) {
            "" if !behind.starts_with('=') => rest
                .next()
                .ok_or_else(|| refuse(format_args!("-{letter} needs a value")))?,
            value => value,
        };
        return push(option, value, parsed);
    }
    Ok(())
}

fn push<'a>(option: &Known, value: &'a str, parsed: &mut Parsed<'a>) -> Result<()> {
    let value = match (option.value, value) {
        (true, value) => value,
        // As Go's strconv.ParseBool reads a flag's value in docker's client.
        (false, "1" | "t" | "T" | "true" | "TRUE" | "True") => "true",
        (false, "0" | "f" | "F" | "false" | "FALSE" | "False") => "false",
        (false, other) => {
            return Err(refuse(format_args!(
                "--{} is true or false, not {other}",
                option.long
            )));
        }
    };
    // Whoever reads it as a C string would see less than the policy has judged.
    if value.contains('\0') {
        return Err(refuse(format_args!("--{} contains a NUL", option.long)));
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

    fn parsed(args: &[&'static str]) -> Result<Parsed<'static>> {
        parse(&KNOWN, args, Order::OptionsFirst, |o| format!("no {o}"))
    }

    #[test]
    fn all_spellings_mean_the_same() {
        for args in [
            &["-it", "-v", "a:b", "img", "-x"][..],
            &["-itv", "a:b", "img", "-x"],
            &["-itva:b", "img", "-x"],
            &["-i", "-t", "-v=a:b", "img", "-x"],
            &["--interactive", "--tty=true", "--volume=a:b", "img", "-x"],
            &["-i=1", "-t", "--volume", "a:b", "--", "img", "-x"],
        ] {
            let parsed = parsed(args).unwrap();
            assert_eq!(
                parsed.options,
                [("interactive", "true"), ("tty", "true"), ("volume", "a:b")],
                "{args:?}"
            );
            assert_eq!(parsed.arguments, ["img", "-x"]);
        }
    }

    #[test]
    fn an_unknown_option_is_named() {
        for (args, named) in [
            (["--privileged=t"], "no --privileged"),
            (["-ix"], "no -x"),
            (["--na"], "no --na"),
            (["-é"], "no -é"),
        ] {
            assert_eq!(parsed(&args).unwrap_err().to_string(), named);
        }
        assert!(
            parsed(&["--name"]).is_err()
                && parsed(&["-v"]).is_err()
                && parsed(&["-i=maybe"]).is_err()
        );
    }
}
