//! `network`: checks network settings, and has a device try and keep them.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use edge_common::exit::{Failure, code_of};
use edge_common::{file, log};
use edge_network_settings::{MAX_SETTINGS_BYTES, Settings, TRIAL_SECONDS};
use serde_json::Value;

use crate::cli::network::NetworkCommand;
use crate::device::ssh::{Device, edge_docker};
use crate::exit_code::{CONFIGURATION, REFUSED, UNREACHABLE};
use crate::project::config::Project;

/// Pause between two attempts to reach the device.
const PAUSE: Duration = Duration::from_secs(2);
/// Time limit of one attempt: a lost connection is silent.
const ATTEMPT: Duration = Duration::from_secs(20);
/// Time after the end of a trial within which a device is back with its earlier settings.
const RETURN: Duration = Duration::from_secs(60);
/// Beginnings of messages of the parser that quote no value of the file.
const QUOTES_NOTHING: [&str; 4] = [
    "unknown field",
    "missing field",
    "unknown variant",
    "duplicate field",
];

/// Runs a subcommand of `network`.
pub(crate) async fn run(project: &Project, command: NetworkCommand) -> Result<()> {
    match command {
        NetworkCommand::Check { file } => {
            load(&file)?;
            println!("{}: valid network settings", file.display());
            Ok(())
        }
        NetworkCommand::Show { device } => {
            let device = Device::new(project, &device)?;
            print!("{}", device.run(&["network", "show"]).await?);
            Ok(())
        }
        NetworkCommand::Set { device, file, at } => {
            let settings = load(&file)?;
            set(project, &device, &settings, at.as_deref()).await
        }
    }
}

/// Reads and checks a file of settings. No message repeats a value: it may be a password
/// under a wrong key.
fn load(path: &Path) -> Result<Settings> {
    let text = file::read_text(path, 4 * MAX_SETTINGS_BYTES)
        .map_err(|error| Failure::wrap(CONFIGURATION, error))?;
    let name = path.display().to_string();
    let parsed = edge_app_spec::parse_yaml::<Settings>(&text, &name);
    let settings = parsed.map_err(|why| Failure::error(CONFIGURATION, shown(&why, &name)))?;
    let checked = settings.check();
    checked.map_err(|why| Failure::error(CONFIGURATION, format_args!("{name}: {why:#}")))?;
    Ok(settings)
}

/// Returns the message of the parser, without a value that it quotes.
fn shown(why: &str, name: &str) -> String {
    let rest = why.strip_prefix(name).unwrap_or_default();
    let mut parts = rest.splitn(4, ':');
    let (_, line, column) = (parts.next(), parts.next(), parts.next());
    let message = parts.next().unwrap_or_default().trim();
    let is_safe = QUOTES_NOTHING
        .iter()
        .any(|begin| message.starts_with(begin))
        || message.contains("is not ADDRESS/PREFIX");
    if is_safe {
        return why.into();
    }
    format!(
        "{name}:{}:{}: not a value of the documented form: see docs/network.md",
        line.unwrap_or("1"),
        column.unwrap_or("1")
    )
}

/// Has the device try the settings, and confirms them over a connection of their own.
async fn set(project: &Project, name: &str, settings: &Settings, at: Option<&str>) -> Result<()> {
    let json = serde_json::to_string(settings).context("writing the network settings")?;
    let device = Device::new(project, name)?;
    let line = edge_docker(&["network", "set"]);
    let answer = device.run_with(&line, Some(&json), |_| ()).await?;
    let answer: Value = serde_json::from_str(&answer).context("reading the device's answer")?;
    let token = answer["token"].as_str();
    let token = token.context("the device gave no token: is its image older?")?;
    // The connection of the earlier settings proves nothing.
    drop(device);
    let end = Instant::now() + Duration::from_secs(TRIAL_SECONDS);
    println!("{name}: trying the new settings for {TRIAL_SECONDS} s");
    let place = at.unwrap_or(name);
    let mut last = None;
    while Instant::now() < end {
        match attempt(project, place, &["network", "confirm", token]).await {
            Ok(_) => {
                println!("{name}: reached with the new settings, which are kept");
                return Ok(());
            }
            // The device has decided: it returned, or somebody else began a trial.
            Err(error) if code_of(&error) == REFUSED => {
                last = Some(error);
                break;
            }
            Err(error) => last = Some(error),
        }
        tokio::time::sleep(PAUSE).await;
    }
    let why = last.map_or_else(String::new, |error| format!(": {error:#}"));
    log::warn(format_args!(
        "{name} was not reached with the new settings{why}"
    ));
    returned(project, name).await
}

/// Waits for the device to be back with its earlier settings; the result is a failure in
/// any case.
async fn returned(project: &Project, name: &str) -> Result<()> {
    let end = Instant::now() + RETURN;
    while Instant::now() < end {
        if let Ok(text) = attempt(project, name, &["network", "show"]).await {
            let shown: Value = serde_json::from_str(&text).unwrap_or_default();
            let why = shown["last"]["why"]
                .as_str()
                .unwrap_or("see edge-app network show");
            let is_kept = shown["last"]["result"] == "kept";
            if is_kept {
                println!("{name}: the new settings are kept: {why}");
                return Ok(());
            }
            if shown["trial"].is_null() {
                return Err(Failure::error(
                    1,
                    format_args!("{name} has returned to its earlier settings: {why}"),
                ));
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
    Err(Failure::error(
        UNREACHABLE,
        format_args!(
            "{name} is not reached at its earlier address either; it returns to its earlier \
             settings by itself, at the latest at its next boot"
        ),
    ))
}

/// Runs a command over a new connection, within [`ATTEMPT`].
async fn attempt(project: &Project, name: &str, arguments: &[&str]) -> Result<String> {
    let device = Device::new(project, name)?;
    let run = tokio::time::timeout(ATTEMPT, device.run(arguments)).await;
    run.unwrap_or_else(|_| {
        Err(Failure::error(
            UNREACHABLE,
            format_args!("{name} does not answer within {} s", ATTEMPT.as_secs()),
        ))
    })
}
