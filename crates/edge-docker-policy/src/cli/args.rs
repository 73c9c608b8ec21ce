//! Parser of docker's command lines: long options, clusters of short options, and values
//! that are attached or separate. Options end at the first argument only where a command
//! line of the container follows (see `Order`).
//!
//! clap is not used: a command line must mean here exactly what it means to docker's
//! client, down to `-itva:b` and `-v=a:b`, and a refused option needs its reason. See
//! `docs/decisions/0010-option-parser.md`.

use anyhow::Result;

use crate::refusal::refuse;

/// Declaration of an option: its names, and whether it takes a value.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Known {
    /// Long name without the two dashes, for example `volume`.
    pub long: &'static str,
    /// Letter of the short option, or a space if there is none.
    pub(crate) short: char,
    /// Set for an option that takes a value, unset for a flag.
    pub(crate) value: bool,
}

/// Declares a flag, an option without a value.
pub(crate) const fn flag(short: char, long: &'static str) -> Known {
    Known {
        long,
        short,
        value: false,
    }
}

/// Declares an option that takes a value.
pub(crate) const fn value(short: char, long: &'static str) -> Known {
    Known {
        long,
        short,
        value: true,
    }
}

/// Result of parsing: the options in the order of the command line, and the other
/// arguments.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Parsed<'a> {
    /// Long name and value of each option; the value of a flag is `true` or `false`.
    pub options: Vec<(&'static str, &'a str)>,
    /// Arguments that are not options, for example the image and its command.
    pub arguments: Vec<&'a str>,
}

impl<'a> Parsed<'a> {
    /// Returns the last value of `option`, which overrides earlier ones as in docker.
    pub fn last(&self, option: &str) -> Option<&'a str> {
        let mut last = self.options.iter().rev();
        last.find(|(name, _)| *name == option)
            .map(|(_, value)| *value)
    }

    /// Returns whether the last occurrence of `flag` sets it: `--tty --tty=false` does
    /// not.
    pub fn is_set(&self, flag: &str) -> bool {
        self.last(flag) == Some("true")
    }
}

/// Rule for the position of options relative to the arguments of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Options end at the first argument: everything after it belongs to the command line
    /// of the container.
    OptionsFirst,
    /// Options may also follow arguments, for example `logs NAME -f`.
    Mixed,
}

/// Parses `args` with the declared options; `refusal` returns the error text for an
/// unknown option.
pub(crate) fn parse<'a>(
    known: &[Known],
    args: &[&'a str],
    order: Order,
    refusal: impl Fn(&str) -> String,
) -> Result<Parsed<'a>> {
    let mut parsed = Parsed::default();
    let mut rest = args.iter().copied();
    while let Some(argument) = rest.next() {
        // `--` ends the options, as in the parser of docker (pflag).
        if argument == "--" {
            parsed.arguments.extend(rest);
            break;
        } else if let Some(body) = argument.strip_prefix("--") {
            long(known, body, &mut rest, &mut parsed, &refusal)?;
        } else if let Some(body) = argument.strip_prefix('-').filter(|b| !b.is_empty()) {
            cluster(known, body, &mut rest, &mut parsed, &refusal)?;
        } else {
            // A single `-` is an argument, too: `build -t sandbox/APP -` reads standard
            // input.
            parsed.arguments.push(argument);
            // In `run IMAGE --privileged`, the flag is an argument of the program in the
            // container.
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
    // Names are compared in full: docker knows no abbreviations, and `--priv` must not
    // match another option.
    let option = known
        .iter()
        .find(|k| k.long == name)
        .ok_or_else(|| refuse(refusal(&format!("--{name}"))))?;
    let value = match (option.value, joined) {
        (_, Some(value)) => value,
        // A flag never takes the next argument as its value: `--rm false` runs an image
        // named `false`.
        (false, None) => "true",
        // The next argument is the value even if it begins with `-`, as in docker.
        (true, None) => rest
            .next()
            .ok_or_else(|| refuse(format_args!("--{name} needs a value")))?,
    };
    push(option, value, parsed)
}

/// Parses short options: `-it`, `-vVALUE`, `-v=VALUE` or `-v VALUE`.
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
        // `-i=false` is a flag with a value, not a cluster of the letters i, =, f, ….
        if !option.value && !behind.starts_with('=') {
            push(option, "true", parsed)?;
            continue;
        }
        // Docker drops the `=` of `-v=/:/host`. A check of the value with `=` would find
        // no absolute path, and the mount of the whole root file system would pass.
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
        // Spellings that docker's client accepts for the value of a flag (Go's
        // strconv.ParseBool).
        (false, "1" | "t" | "T" | "true" | "TRUE" | "True") => "true",
        (false, "0" | "f" | "F" | "false" | "FALSE" | "False") => "false",
        (false, other) => {
            return Err(refuse(format_args!(
                "--{} is true or false, not {other}",
                option.long
            )));
        }
    };
    // A program that reads the value as a C string would stop at the NUL, and use a
    // shorter value than the policy has judged.
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
