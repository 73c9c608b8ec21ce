//! `system prune`, `container prune`, `image prune` and `rmi`: removal of what nothing
//! needs. What a deployment needs stays: the current and the previous container, those of
//! an open deployment, and their images.

use std::collections::BTreeSet;
use std::io::{BufRead as _, IsTerminal as _};
use std::process::ExitCode;

use anyhow::{Context, Result};
use edge_common::{Root, log};
use edge_docker_policy::cli::args::Parsed;
use edge_docker_policy::cli::commands::Command;
use edge_docker_policy::refusal::refuse;
use hyper::Method;
use serde_json::Value;

use super::passthrough;
use crate::engine::client;
use crate::engine::error::EngineError;
use crate::image::pull;
use crate::image::unused::{self, Which};
use crate::journal;
use crate::ledger::Decision;
use crate::mounts::collect;
use crate::stored::app_limits;

/// Carries out `system prune`, `container prune` and `image prune`.
pub(super) async fn run(root: &Root, command: Command, parsed: &Parsed<'_>) -> Result<()> {
    let what = match command {
        Command::ContainerPrune => "all stopped containers",
        Command::ImagePrune => "images without a name, and versions that may not start any more",
        _ => "stopped containers, unused networks, images and the build cache",
    };
    if !parsed.is_set("force") && !is_confirmed(what)? {
        return Ok(());
    }
    let decision = Decision {
        verb: command.entry().name,
        ..Decision::default()
    };
    decision.record(root)?;
    let before = layers_size(root).await;
    if command != Command::ImagePrune {
        remove_containers(root).await?;
        app_limits::release(root).await;
        collect::collect(root).await?;
    }
    if command != Command::ContainerPrune {
        let which = match parsed.is_set("all") {
            true => Which::All,
            false => Which::Outdated,
        };
        unused::remove(root, which, None, |image| println!("deleted image {image}")).await?;
    }
    if command == Command::SystemPrune {
        for what in ["networks", "build"] {
            client::request(root, Method::POST, &format!("/{what}/prune"), None).await?;
        }
    }
    let freed = before.saturating_sub(layers_size(root).await);
    println!("Total reclaimed space: {}", unused::megabytes(freed));
    Ok(())
}

/// Asks as docker's client does; without a terminal the answer is read all the same.
fn is_confirmed(what: &str) -> Result<bool> {
    print!("WARNING! This removes {what}. Continue? [y/N] ");
    if std::io::stdin().is_terminal() {
        std::io::Write::flush(&mut std::io::stdout()).context("writing to standard output")?;
    }
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    read.context("reading standard input")?;
    Ok(["y", "Y", "yes"].contains(&answer.trim()))
}

/// Returns the size of all layers at the engine, in bytes; 0 if it cannot be measured.
async fn layers_size(root: &Root) -> u64 {
    let used = client::request(root, Method::GET, "/system/df", None).await;
    used.map_or(0, |used| used["LayersSize"].as_u64().unwrap_or(0))
}

async fn remove_containers(root: &Root) -> Result<()> {
    let filter = "%7B%22status%22%3A%5B%22created%22%2C%22exited%22%2C%22dead%22%5D%7D";
    let path = format!("/containers/json?all=1&filters={filter}");
    let list = client::request(root, Method::GET, &path, None).await?;
    let kept: Vec<_> = journal::all(root);
    let kept: BTreeSet<&str> = kept.iter().flat_map(journal::Journal::ids).collect();
    let locked = journal::locked_names(root)?;
    let stopped = list
        .as_array()
        .context("the engine's response is no list")?;
    for container in stopped {
        let id = container["Id"].as_str().unwrap_or_default();
        let name = name_of(container);
        let base = journal::base(name);
        if kept.contains(id) || locked.iter().any(|l| l == base) {
            log::info(format_args!(
                "{name} stays: a deployment of {base} needs it"
            ));
            continue;
        }
        let path = format!("/containers/{id}");
        // Without force: a container that was started meanwhile is refused by the engine.
        match client::request(root, Method::DELETE, &path, None).await {
            Err(error) if EngineError::is_conflict(&error) => {
                log::info(format_args!("{name} stays: {error:#}"));
            }
            Err(error) if EngineError::is_not_found(&error) => {}
            response => {
                response?;
                println!("deleted container {name}");
            }
        }
    }
    Ok(())
}

fn name_of(container: &Value) -> &str {
    let name = container["Names"][0].as_str().unwrap_or_default();
    name.trim_start_matches('/')
}

/// Carries out `rmi` with docker's client, unless a deployment needs one of the images.
pub(super) async fn remove_images(root: &Root, parsed: &Parsed<'_>) -> Result<ExitCode> {
    if let Some(name) = journal::locked_names(root)?.first() {
        return Err(refuse(format_args!(
            "rmi is refused while a deployment of {name} is under way"
        )));
    }
    let mut targets = Vec::new();
    for name in &parsed.arguments {
        // The name becomes part of a URI.
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "._:/@-".contains(c);
        if name.is_empty() || !name.chars().all(is_plain) {
            return Err(refuse(format_args!(
                "rmi {name:?}: not the name of an image"
            )));
        }
        let Some(image) = pull::local(root, name).await? else {
            // Docker's client reports it. A name could mean another image by then.
            targets.push(name.to_string());
            continue;
        };
        targets.push(target(root, name, image.id()).await?);
        if let Some(app) = unused::needed_by(root, image.id()).await? {
            return Err(refuse(format_args!(
                "rmi {name} is refused: the current or the previous container of {app} needs it; \
                 edge-docker rm that container first"
            )));
        }
    }
    let judged = Parsed {
        options: parsed.options.clone(),
        arguments: targets.iter().map(String::as_str).collect(),
    };
    passthrough::become_client(root, Command::RemoveImage, &judged)?;
    Ok(ExitCode::SUCCESS)
}

/// Returns what docker's client removes in place of `name`: the image `id` that was judged,
/// or the name alone if the image has others, with which it stays. The start of an ID becomes
/// the whole one, since an image that comes meanwhile may begin alike.
async fn target(root: &Root, name: &str, id: &str) -> Result<String> {
    let found = client::request(root, Method::GET, &format!("/images/{id}/json"), None).await?;
    let count = |field: &str| found[field].as_array().map_or(0, Vec::len);
    let (tags, digests) = (count("RepoTags"), count("RepoDigests"));
    if is_start(name, id) && !has_tag(&found["RepoTags"], name) {
        return Ok(id.into());
    }
    // With its only tag, an image loses its digests, too.
    let is_last = match name.contains('@') {
        true => tags == 0 && digests <= 1,
        false => tags <= 1,
    };
    Ok(if is_last { id } else { name }.to_string())
}

/// Returns whether `name` is the start of an image's ID, with or without `sha256:`.
fn is_start(name: &str, id: &str) -> bool {
    let hex = |text: &str| text.strip_prefix("sha256:").unwrap_or(text).to_string();
    hex(id).starts_with(&hex(name))
}

/// Returns whether one of an image's tags is `name`, which the engine looks for first.
fn has_tag(tags: &Value, name: &str) -> bool {
    let mut tags = tags
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str);
    tags.any(|tag| tag == name || tag.strip_suffix(":latest") == Some(name))
}
