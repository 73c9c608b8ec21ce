//! Commands that docker's own client carries out, each with a short list.

use std::os::unix::process::CommandExt as _;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use edge_common::Root;
use edge_common::command::CommandExt as _;
use hyper::Method;

use crate::grammar::{self, Known, flag, value};
use crate::start::sandbox_app;
use crate::{engine, refuse, trust, values};

/// The client, with nothing of the caller's surroundings: no variable, no
/// configuration folder, no plugin.
pub fn docker(root: &Root) -> Command {
    let mut command = root.command("/usr/bin/docker");
    command
        .env_clear()
        .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
        .env("HOME", "/nonexistent");
    if let Some(term) = std::env::var_os("TERM") {
        command.env("TERM", term);
    }
    let host = format!("unix://{}", root.path(engine::SOCKET).display());
    command.args(["--config", "/nonexistent", "--host", &host]);
    command
}

/// What plain words a command takes.
enum Words {
    None,
    Names,
    Any,
}

fn table(verb: &str) -> Option<(Vec<Known>, Words)> {
    let filter = || {
        vec![
            flag('q', "quiet"),
            flag(' ', "no-trunc"),
            value('f', "filter"),
            value(' ', "format"),
            flag('a', "all"),
        ]
    };
    let with = |more: &[Known]| [filter(), more.to_vec()].concat();
    Some(match verb {
        "ps" => (
            with(&[flag('s', "size"), value('n', "last"), flag('l', "latest")]),
            Words::None,
        ),
        "images" => (with(&[flag(' ', "digests")]), Words::Any),
        "logs" => (
            vec![
                flag('f', "follow"),
                flag('t', "timestamps"),
                flag(' ', "details"),
                value(' ', "since"),
                value(' ', "until"),
                value('n', "tail"),
            ],
            Words::Names,
        ),
        "stop" => (vec![value('t', "time"), value('s', "signal")], Words::Names),
        "rm" => (vec![flag('f', "force"), flag('v', "volumes")], Words::Names),
        "rmi" => (vec![flag('f', "force"), flag(' ', "no-prune")], Words::Any),
        "inspect" => (
            vec![value('f', "format"), flag('s', "size"), value(' ', "type")],
            Words::Any,
        ),
        _ => return None,
    })
}

/// `ps`, `images`, `logs`, `stop`, `rm`, `rmi`, `inspect`, `system`, `tag`, `build`.
///
/// # Errors
/// Refused, or docker cannot be started.
pub fn command(root: &Root, verb: &str, words: &[&str]) -> Result<()> {
    match verb {
        "system" => return system(root, words),
        "tag" => return tag(root, words),
        "build" => return build(root, words),
        _ => {}
    }
    let Some((known, wanted)) = table(verb) else {
        return Err(refuse(format_args!(
            "command {verb:?} is refused: see edge-docker --help for what is taken"
        )));
    };
    let parsed = grammar::parse(&known, words, true, |o| {
        format!("{verb}: option {o} is refused")
    })?;
    match wanted {
        Words::None if !parsed.words.is_empty() => {
            return Err(refuse(format_args!("{verb} takes options only")));
        }
        Words::Names => {
            for word in &parsed.words {
                values::name(verb, word)?;
            }
        }
        _ => {}
    }
    exec_docker(root, &[verb], &parsed.options, &parsed.words)
}

/// Becomes docker, with options in one spelling and words behind `--`.
fn exec_docker(root: &Root, verb: &[&str], options: &[(&str, &str)], words: &[&str]) -> Result<()> {
    let mut command = docker(root);
    command.args(verb);
    command.args(
        options
            .iter()
            .map(|(name, value)| format!("--{name}={value}")),
    );
    if !words.is_empty() {
        command.arg("--").args(words);
    }
    Err(command.exec()).context("starting docker")
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
    let parsed = grammar::parse(known, rest, true, |o| {
        format!("system {verb}: option {o} is refused")
    })?;
    if !parsed.words.is_empty() {
        return Err(refuse(format_args!("system {verb} takes options only")));
    }
    exec_docker(root, &["system", verb], &parsed.options, &[])
}

fn tag(root: &Root, words: &[&str]) -> Result<()> {
    let parsed = grammar::parse(&[], words, true, |o| format!("tag takes no {o}"))?;
    match parsed.words[..] {
        [from, to] if sandbox_app(from).is_some() && sandbox_app(to).is_some() => {
            exec_docker(root, &["tag"], &[], &[from, to])
        }
        _ => Err(refuse(
            "tag is refused: only from sandbox/APP to sandbox/APP",
        )),
    }
}

/// `build -t sandbox/APP [--no-cache] [--build-arg K=V] -`
fn build(root: &Root, words: &[&str]) -> Result<()> {
    let known = [
        value('t', "tag"),
        flag(' ', "no-cache"),
        flag('q', "quiet"),
        value(' ', "build-arg"),
        flag(' ', "rm"),
    ];
    let parsed = grammar::parse(&known, words, true, |o| {
        format!("build: option {o} is refused")
    })?;
    if !trust::load(root)?.sandbox {
        return Err(refuse(
            "build is refused: this image of the device runs signed containers only",
        ));
    }
    let mut tags = parsed
        .options
        .iter()
        .filter(|(name, _)| *name == "tag")
        .peekable();
    if tags.peek().is_none() || tags.any(|(_, tag)| sandbox_app(tag).is_none()) {
        return Err(refuse(
            "build is refused: the image must be called -t sandbox/APP",
        ));
    }
    if parsed
        .options
        .iter()
        .any(|(name, value)| *name == "build-arg" && !value.contains('='))
    {
        return Err(refuse(
            "build --build-arg needs KEY=VALUE: values of the device are not passed on",
        ));
    }
    if parsed.words != ["-"] {
        return Err(refuse(
            "build is refused: give the context as a tar on standard input: build -t sandbox/APP - < context.tar",
        ));
    }
    let mut command = docker(root);
    command.env("DOCKER_BUILDKIT", "0").arg("build");
    command.args(
        parsed
            .options
            .iter()
            .map(|(name, value)| format!("--{name}={value}")),
    );
    Err(command.arg("-").exec()).context("starting docker")
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
    let parsed = grammar::parse(&known, words, false, |o| {
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
    let name = values::name("exec", container)?;
    let found = engine::ask(root, Method::GET, &format!("/containers/{name}/json"), None).await?;
    let labels = &found["Config"]["Labels"];
    let id = found["Id"]
        .as_str()
        .filter(|_| !labels["edge.app"].is_null() || !labels["edge.sandbox"].is_null());
    let id = id.ok_or_else(|| {
        refuse(format_args!(
            "exec into {name} is refused: edge-docker did not make it"
        ))
    })?;
    exec_docker(root, &["exec"], &parsed.options, &[&[id], command].concat())
}

/// `load` from standard input; names other than `sandbox/…` are taken away.
///
/// # Errors
/// Refused, or docker's.
pub async fn load(root: &Root, words: &[&str]) -> Result<()> {
    let parsed = grammar::parse(&[flag('q', "quiet")], words, true, |o| {
        format!("load: option {o} is refused")
    })?;
    if !parsed.words.is_empty() {
        return Err(refuse("load reads standard input only"));
    }
    if !trust::load(root)?.sandbox {
        return Err(refuse(
            "load is refused: this image of the device runs signed containers only",
        ));
    }
    let child = docker(root)
        .args(["load", "--quiet"])
        .stdin(Stdio::inherit())
        .stdout(Stdio::piped())
        .spawn();
    let output = child
        .context("starting docker")?
        .wait_with_output()
        .context("waiting for docker")?;
    let mut foreign = Vec::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        match line.strip_prefix("Loaded image: ") {
            Some(name) if sandbox_app(name).is_none() => {
                docker(root).args(["rmi", "--no-prune", "--", name]).run()?;
                foreign.push(name.to_string());
            }
            _ => println!("{line}"),
        }
    }
    if !foreign.is_empty() {
        return Err(refuse(format_args!(
            "load keeps sandbox/APP only; taken away: {}",
            foreign.join(", ")
        )));
    }
    if !output.status.success() {
        return Err(refuse(format_args!("docker load: {}", output.status)));
    }
    Ok(())
}
