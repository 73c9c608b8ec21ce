//! Commands that docker's own client carries out, each with a short list.

use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use edge_common::Root;
use hyper::Method;

use edge_docker_policy::api::rules;
use edge_docker_policy::cli::args::{self, Known, Parsed, flag, value};
use edge_docker_policy::cli::commands::{Words, table};
use edge_docker_policy::cli::values;
use edge_docker_policy::identity::sandbox_app;
use edge_docker_policy::refusal::refuse;

use crate::engine::{client as engine, docker_cli};
use crate::image::identify;
use crate::mounts::collect;
use crate::{audit_log, tickets, trust};

/// Commands that docker's client carries out.
///
/// # Errors
/// Refused, or docker cannot be started.
pub async fn command(root: &Root, verb: &str, words: &[&str]) -> Result<()> {
    match verb {
        "system" => return system(root, words),
        "tag" => return tag(root, words).await,
        _ => {}
    }
    let parsed = parse(verb, words)?;
    if let "start" | "restart" | "unpause" = verb {
        let trust = trust::load(root)?;
        for name in &parsed.words {
            identify::held(root, &trust, verb, name).await?;
        }
    }
    exec_docker(root, &[verb], &parsed.options, &parsed.words)
}

/// The words of a command that has a list.
fn parse<'a>(verb: &str, words: &'a [&'a str]) -> Result<Parsed<'a>> {
    let Some((known, wanted)) = table(verb) else {
        return Err(refuse(format_args!(
            "command {verb:?} is refused: see edge-docker --help for what is taken"
        )));
    };
    // Behind the name in `top NAME -ef` there are no options of docker's.
    let mixed = !matches!(wanted, Words::Behind(_));
    let parsed = args::parse(&known, words, mixed, |o| {
        format!("{verb}: option {o} is refused")
    })?;
    check(verb, &wanted, &parsed.words)?;
    Ok(parsed)
}

fn check(verb: &str, wanted: &Words, words: &[&str]) -> Result<()> {
    match wanted {
        Words::None if !words.is_empty() => Err(refuse(format_args!("{verb} takes options only"))),
        Words::Names | Words::Behind(_) if words.is_empty() => {
            Err(refuse(format_args!("{verb} takes the name of a container")))
        }
        Words::Names => words
            .iter()
            .try_for_each(|word| values::name(verb, word).map(drop)),
        Words::Behind(good) => {
            values::name(verb, words[0])?;
            match words[1..].iter().find(|w| !good(w)) {
                Some(word) => Err(refuse(format_args!("{verb}: {word:?} is refused"))),
                None => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

/// `rm`, and the pins of what is gone with it.
///
/// # Errors
/// Refused, or the engine's.
pub async fn remove(root: &Root, words: &[&str]) -> Result<ExitCode> {
    let parsed = parse("rm", words)?;
    let status = client(root, &["rm"], &parsed.options, &parsed.words)
        .status()
        .context("starting docker")?;
    collect::collect(root).await?;
    // Docker has said why.
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(code.unwrap_or(1).into())
}

/// The client, with options in one spelling and words behind `--`.
fn client(root: &Root, verb: &[&str], options: &[(&str, &str)], words: &[&str]) -> Command {
    let mut command = docker_cli::docker(root);
    command.args(verb);
    command.args(
        options
            .iter()
            .map(|(name, value)| format!("--{name}={value}")),
    );
    if !words.is_empty() {
        command.arg("--").args(words);
    }
    command
}

/// Becomes docker.
fn exec_docker(root: &Root, verb: &[&str], options: &[(&str, &str)], words: &[&str]) -> Result<()> {
    audit_log::Decision {
        verb: &verb.join(" "),
        image: "",
        identity: None,
        container: words.first().unwrap_or(&""),
    }
    .allowed(root);
    Err(client(root, verb, options, words).exec()).context("starting docker")
}

fn system(root: &Root, words: &[&str]) -> Result<()> {
    let (verb, rest) = words
        .split_first()
        .ok_or_else(|| refuse("system takes df, info or prune"))?;
    let known: &[Known] = match *verb {
        "df" => &[flag('v', "verbose"), value(' ', "format")],
        "info" => &[value('f', "format")],
        "prune" => &[flag('a', "all"), flag('f', "force")],
        _ => {
            return Err(refuse(format_args!(
                "system {verb} is refused: only df, info and prune"
            )));
        }
    };
    let parsed = args::parse(known, rest, true, |o| {
        format!("system {verb}: option {o} is refused")
    })?;
    if !parsed.words.is_empty() {
        return Err(refuse(format_args!("system {verb} takes options only")));
    }
    exec_docker(root, &["system", verb], &parsed.options, &[])
}

/// `tag sandbox/A sandbox/B`, asked of the engine.
async fn tag(root: &Root, words: &[&str]) -> Result<()> {
    let parsed = args::parse(&[], words, true, |o| format!("tag takes no {o}"))?;
    trust::load(root)?.sandbox_allowed("tag")?;
    match parsed.words[..] {
        [from, to] if sandbox_app(from).is_some() && sandbox_app(to).is_some() => {
            let (name, tag) = to.split_once(':').unwrap_or((to, "latest"));
            let path = format!("/images/{from}/tag?repo={name}&tag={tag}");
            engine::ask(root, Method::POST, &path, None).await.map(drop)
        }
        _ => Err(refuse(
            "tag is refused: only from sandbox/APP to sandbox/APP",
        )),
    }
}

/// `exec`, only into containers that edge-docker made.
///
/// # Errors
/// Refused, or docker cannot be started.
pub async fn exec(root: &Root, words: &[&str]) -> Result<()> {
    let known = [
        flag('i', "interactive"),
        flag('t', "tty"),
        flag('d', "detach"),
        value('u', "user"),
        value('w', "workdir"),
        value('e', "env"),
    ];
    let parsed = args::parse(&known, words, false, |o| {
        format!("exec: option {o} is refused")
    })?;
    let Some((container, command)) = parsed.words.split_first().filter(|(_, c)| !c.is_empty())
    else {
        return Err(refuse("exec takes a container and a command"));
    };
    if parsed
        .options
        .iter()
        .any(|(name, value)| *name == "env" && !value.contains('='))
    {
        return Err(refuse(
            "exec -e needs KEY=VALUE: values of the device are not passed on",
        ));
    }
    let found = identify::made(root, "exec", container).await?;
    let id = found["Id"]
        .as_str()
        .context("the engine's answer has no Id")?;
    let last = |name| {
        let mut values = parsed.options.iter().rev();
        values.find(|(n, _)| *n == name).map_or("", |(_, v)| *v)
    };
    let env = parsed.options.iter().filter(|(n, _)| *n == "env");
    let words = rules::Exec {
        container: id,
        user: last("user"),
        workdir: last("workdir"),
        tty: last("tty") == "true",
        env: env.map(|(_, v)| *v).collect(),
        command: command.to_vec(),
    };
    tickets::leave(root, &rules::exec(&words))?.stay();
    exec_docker(root, &["exec"], &parsed.options, &[&[id], command].concat())
}
