//! Which commands docker's client carries out, each with a short list of options.

use anyhow::Result;

use crate::cli::args::{Known, flag, value};
use crate::cli::values;
use crate::refusal::refuse;

/// What plain words a command takes.
pub enum Words {
    /// None at all.
    None,
    /// Names of containers, at least one.
    Names,
    /// One name and what stands behind it.
    Behind(fn(&str) -> bool),
    /// Whatever docker takes.
    Any,
}

/// Options and words of `verb`; nothing if it is not taken.
pub fn table(verb: &str) -> Option<(Vec<Known>, Words)> {
    looking(verb).or_else(|| changing(verb))
}

fn looking(verb: &str) -> Option<(Vec<Known>, Words)> {
    let format = value(' ', "format");
    let no_trunc = flag(' ', "no-trunc");
    let all = flag('a', "all");
    let quiet = flag('q', "quiet");
    let filter = value('f', "filter");
    Some(match verb {
        "ps" => {
            let more = [flag('s', "size"), value('n', "last"), flag('l', "latest")];
            let known = [quiet, no_trunc, filter, format, all];
            ([&known[..], &more].concat(), Words::None)
        }
        "images" => {
            let digests = flag(' ', "digests");
            (
                vec![quiet, no_trunc, filter, format, all, digests],
                Words::Any,
            )
        }
        "history" => (
            vec![quiet, no_trunc, flag('H', "human"), format],
            Words::Any,
        ),
        "logs" => {
            let known = [
                flag('f', "follow"),
                flag('t', "timestamps"),
                flag(' ', "details"),
                value(' ', "since"),
                value(' ', "until"),
                value('n', "tail"),
            ];
            (known.into(), Words::Names)
        }
        "wait" | "diff" => (Vec::new(), Words::Names),
        "top" => (Vec::new(), Words::Behind(ps_option)),
        "port" => (Vec::new(), Words::Behind(port)),
        "stats" => (
            vec![all, flag(' ', "no-stream"), no_trunc, format],
            Words::Any,
        ),
        "inspect" => {
            let known = [value('f', "format"), flag('s', "size"), value(' ', "type")];
            (known.into(), Words::Any)
        }
        "version" | "info" => (vec![value('f', "format")], Words::None),
        _ => return None,
    })
}

fn changing(verb: &str) -> Option<(Vec<Known>, Words)> {
    let force = flag('f', "force");
    Some(match verb {
        "stop" | "restart" => (vec![value('t', "time"), value('s', "signal")], Words::Names),
        "start" => {
            let known = [flag('a', "attach"), flag('i', "interactive")];
            (known.into(), Words::Names)
        }
        "kill" => (vec![value('s', "signal")], Words::Names),
        "pause" | "unpause" => (Vec::new(), Words::Names),
        "rm" => (vec![force, flag('v', "volumes")], Words::Names),
        "rmi" => (vec![force, flag(' ', "no-prune")], Words::Any),
        _ => return None,
    })
}

/// What may stand behind `top NAME`: the engine runs `ps` with it, as root.
fn ps_option(word: &str) -> bool {
    let field = |f: &str| !f.is_empty() && f.chars().all(|c| c.is_ascii_lowercase() || c == '_');
    ["-ef", "-aux", "aux", "-eo", "-o", "-e", "-f", "-l"].contains(&word)
        || word.split(',').all(field)
}

/// `PORT[/PROTOCOL]`
fn port(word: &str) -> bool {
    values::port("port", word).is_ok()
}

/// Commands of docker's groups, by their short name.
fn short(group: &str, verb: &str) -> Option<&'static str> {
    let known: &[(&str, &str, &'static str)] = &[
        ("container", "ls", "ps"),
        ("container", "list", "ps"),
        ("container", "remove", "rm"),
        ("image", "ls", "images"),
        ("image", "list", "images"),
        ("image", "rm", "rmi"),
        ("image", "remove", "rmi"),
    ];
    let plain: &[(&str, &[&'static str])] = &[
        (
            "container",
            &[
                "run", "create", "start", "stop", "restart", "pause", "unpause", "kill", "rm",
                "ps", "logs", "exec", "top", "stats", "port", "wait", "inspect", "diff",
            ],
        ),
        (
            "image",
            &["pull", "push", "load", "build", "tag", "inspect", "history"],
        ),
    ];
    let renamed = known.iter().find(|k| (k.0, k.1) == (group, verb));
    let same = || {
        let (_, verbs) = plain.iter().find(|(name, _)| *name == group)?;
        verbs.iter().find(|v| **v == verb).copied()
    };
    renamed.map(|k| k.2).or_else(same)
}

/// `container ls` and the like in their short form: the verb and its words.
///
/// # Errors
/// Refused: the group has no such command here.
pub fn ungroup<'a>(verb: &'a str, words: &'a [&'a str]) -> Result<(&'a str, &'a [&'a str])> {
    if !["container", "image"].contains(&verb) {
        return Ok((verb, words));
    }
    let found = words
        .split_first()
        .and_then(|(second, rest)| Some((short(verb, second)?, rest)));
    found.ok_or_else(|| {
        let second = words.first().unwrap_or(&"");
        refuse(format_args!(
            "command \"{verb} {second}\" is refused: see edge-docker --help for what is taken"
        ))
    })
}
