//! `exec`: runs a command in a container that edge-docker created.

use anyhow::{Context, Result};
use edge_common::Root;
use edge_docker_policy::api::exec::Exec;
use edge_docker_policy::cli::args::Parsed;
use edge_docker_policy::cli::commands::Command;
use edge_docker_policy::cli::values;
use edge_docker_policy::refusal::refuse;

use super::passthrough;
use crate::image::identify;
use crate::tickets;

/// Carries out `exec`: leaves a ticket for exactly this command, and replaces this
/// process by docker's client, which sends the request.
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
            "user" => drop(values::user(option, value)?),
            "workdir" => drop(values::workdir(option, value)?),
            _ => {}
        }
    }
    let found = identify::created(root, "exec", container).await?;
    let id = found["Id"]
        .as_str()
        .context("the engine's response has no ID")?;
    let exec = Exec {
        container: id,
        user: parsed.last("user").unwrap_or_default(),
        workdir: parsed.last("workdir").unwrap_or_default(),
        tty: parsed.is_set("tty"),
        env: env().map(|(_, value)| *value).collect(),
        command: command.to_vec(),
    };
    tickets::leave(root, &exec.key())?.stay();
    let by_id = Parsed {
        options: parsed.options.clone(),
        // By ID, because the name could refer to another container by then.
        arguments: [&[id], command].concat(),
    };
    passthrough::become_client(root, Command::Exec, &by_id)
}
