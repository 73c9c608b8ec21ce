//! `exec`: runs a command in a container that edge-docker created: one of the app's signed
//! commands, or at the level `debug` any program.

use anyhow::{Context, Result};
use edge_common::Root;
use edge_common::contract::label;
use edge_common::level::Level;
use edge_docker_policy::api::exec::Exec;
use edge_docker_policy::cli::args::Parsed;
use edge_docker_policy::cli::commands::Command;
use edge_docker_policy::cli::{users, values};
use edge_docker_policy::grants;
use edge_docker_policy::refusal::refuse;
use edge_docker_policy::run_spec::{RunSpec, SignedCommand};
use serde_json::Value;

use super::passthrough;
use crate::break_glass::{self, Change};
use crate::image::identify;
use crate::stored::damage;
use crate::{tickets, trust};

/// Size limit of an argument of a signed command.
const MAX_ARGUMENT_BYTES: usize = 4096;

/// Carries out `exec`: permits the command, and replaces this process by docker's client,
/// which sends the request.
pub(super) async fn run(root: &Root, parsed: &Parsed<'_>) -> Result<()> {
    let (container, command) = parsed.arguments.split_first().context("exec of nothing")?;
    let env = || parsed.options.iter().filter(|(name, _)| *name == "env");
    // For a name without a value, docker's client would pass the value of its own
    // environment, that of a process of root.
    if env().any(|(_, value)| !value.contains('=')) {
        return Err(refuse(
            "exec -e needs KEY=VALUE: values of the device are not passed on",
        ));
    }
    for (option, value) in &parsed.options {
        match *option {
            "env" => drop(values::environment(value)?),
            "user" => drop(users::user(option, value)?),
            "workdir" => drop(values::workdir(option, value)?),
            _ => {}
        }
    }
    // As for a start: in a running container whose key was withdrawn, no further program
    // is started.
    let judged = identify::verified(root, &trust::load(root)?, "exec", container).await?;
    let app = break_glass::app_of(&judged.found);
    break_glass::require_app(app)?;
    let id = judged.id.as_str();
    let image = judged.found["Image"].as_str().unwrap_or_default();
    damage::require_intact(root, "exec", container, image)?;
    let spec = judged.spec()?;
    if let Some(signed) = spec.as_ref().and_then(|s| s.commands.get(command[0])) {
        if let Some((options, command)) = signed_command(signed, parsed, &command[1..])? {
            return execute(root, id, options, &command);
        }
    }
    require_typed(root, &judged.found, command[0], spec.as_ref())?;
    break_glass::change(root, &judged.found, Change::Entered)?;
    execute(root, id, parsed.options.clone(), command)
}

/// Leaves a ticket for exactly this command, and replaces this process by docker's client.
fn execute(
    root: &Root,
    id: &str,
    options: Vec<(&'static str, &str)>,
    command: &[&str],
) -> Result<()> {
    let by_id = Parsed {
        options,
        // By ID, because the name could refer to another container by then.
        arguments: [&[id], command].concat(),
    };
    let env = by_id.options.iter().filter(|(name, _)| *name == "env");
    let exec = Exec {
        container: id,
        user: by_id.last("user").unwrap_or_default(),
        workdir: by_id.last("workdir").unwrap_or_default(),
        tty: by_id.is_set("tty"),
        env: env.map(|(_, value)| *value).collect(),
        command: command.to_vec(),
    };
    tickets::leave(root, &exec.key())?.stay();
    passthrough::become_client(root, Command::Exec, &by_id)
}

/// Options and command line of `exec`.
type Execution<'a> = (Vec<(&'static str, &'a str)>, Vec<&'a str>);

/// Returns the execution of a signed command with the caller's arguments; `None` if the
/// caller gave options, which signed commands do not take. Refuses another number of
/// arguments than the signed one, and arguments that the program could take for options.
fn signed_command<'a>(
    signed: &'a SignedCommand,
    parsed: &Parsed<'a>,
    args: &[&'a str],
) -> Result<Option<Execution<'a>>> {
    let is_stream = |name: &str| signed.stdin && ["interactive", "tty"].contains(&name);
    if !parsed.options.iter().all(|(name, _)| is_stream(name)) {
        return Ok(None);
    }
    let wanted = usize::try_from(signed.args).unwrap_or(usize::MAX);
    if args.len() != wanted {
        return Err(refuse(format_args!(
            "this command takes exactly {wanted} arguments, as it was signed: {} were given",
            args.len()
        )));
    }
    if let Some(arg) = args.iter().find(|a| a.len() > MAX_ARGUMENT_BYTES) {
        return Err(refuse(format_args!(
            "an argument of {} bytes is refused: the limit is {MAX_ARGUMENT_BYTES}; a command \
             with `stdin` takes more",
            arg.len()
        )));
    }
    if let Some(arg) = args
        .iter()
        .find(|a| a.starts_with('-') || a.contains(char::is_control))
    {
        return Err(refuse(format_args!(
            "argument {arg:?} is refused: a signed command takes no options and no control \
             characters from its caller"
        )));
    }
    let mut options = parsed.options.clone();
    if signed.stdin && !parsed.is_set("interactive") {
        options.push(("interactive", "true"));
    }
    if !signed.user.is_empty() {
        options.push(("user", &signed.user));
    }
    let program = signed.run.iter().map(String::as_str);
    Ok(Some((
        options,
        program.chain(args.iter().copied()).collect(),
    )))
}

/// Refuses a command of the caller's choice below the level `debug`, and in a container
/// that holds grants.
fn require_typed(root: &Root, found: &Value, name: &str, spec: Option<&RunSpec>) -> Result<()> {
    let commands = spec.map(|s| s.commands.keys().cloned().collect::<Vec<_>>());
    let signed = match commands.unwrap_or_default() {
        names if names.is_empty() => "the app has no signed commands".to_string(),
        names => format!("the app's signed commands are {}", names.join(", ")),
    };
    let app = break_glass::app_of(found);
    if super::level(root)?.0 < Level::Debug && !break_glass::permits(root, app, false) {
        return Err(refuse(format_args!(
            "exec of {name:?} is refused: {signed}; other programs need the level `debug`, see \
             edge-docker help levels"
        )));
    }
    require_no_grants(root, found, &format!("exec of {name:?}"), &signed)
}

/// Refuses `request` in a container that holds grants, unless a ticket names its app.
pub(super) fn require_no_grants(
    root: &Root,
    found: &Value,
    request: &str,
    instead: &str,
) -> Result<()> {
    let app = break_glass::app_of(found);
    let is_sandbox = found["Config"]["Labels"][label::SANDBOX]
        .as_str()
        .is_some_and(|app| !app.is_empty());
    match &grants::held(&found["HostConfig"])[..] {
        [_, ..] if !is_sandbox && break_glass::permits(root, app, true) => Ok(()),
        [first, ..] if !is_sandbox => Err(refuse(format_args!(
            "{request} is refused: the container holds {first}, so it takes only what was \
             signed; {instead}"
        ))),
        _ => Ok(()),
    }
}
