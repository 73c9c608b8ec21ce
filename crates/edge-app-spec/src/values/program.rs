//! Command lines of programs: `command`, `entrypoint` and `commands`.

use std::collections::BTreeMap;

use edge_docker_policy::run_spec::SignedCommand;

use super::scalar::{boolean, number, option};
use crate::fields::Fields;
use crate::keys::COMMAND;
use crate::shell::split;
use crate::yaml::{Node, Problem, Value};

/// Limit of arguments that an engineer may add to a signed command.
const MAX_ARGUMENTS: i64 = 16;
/// Limit of signed commands of one app.
const MAX_COMMANDS: usize = 32;

/// Reads a command line: a list of arguments, or a text that is split at blanks as in
/// compose files, without a shell.
pub(crate) fn arguments(node: &Node) -> Result<Vec<String>, Problem> {
    match &node.value {
        Value::Text(text) => split(checked(node, text)?).map_err(|why| node.problem(why)),
        Value::List(entries) => {
            let argument = |entry: &Node| Ok(checked(entry, entry.text()?)?.to_string());
            entries.iter().map(argument).collect()
        }
        _ => Err(node.unexpected("text or a list of arguments")),
    }
}

/// Checks a text of a program. Line breaks and tabs are part of scripts.
fn checked<'t>(node: &Node, text: &'t str) -> Result<&'t str, Problem> {
    if text.chars().any(|c| c.is_control() && !"\n\t".contains(c)) {
        return Err(node.problem("control characters other than line breaks are not allowed"));
    }
    Ok(text)
}

/// Reads the shell command of a health check.
pub(crate) fn shell_command(node: &Node) -> Result<String, Problem> {
    let text = checked(node, node.text()?)?;
    if text.trim().is_empty() {
        return Err(node.problem("the command is empty"));
    }
    Ok(text.into())
}

/// Reads `commands`: names, and the programs that they stand for.
pub(crate) fn commands(node: &Node) -> Result<BTreeMap<String, SignedCommand>, Problem> {
    let entries = node.map()?;
    if entries.len() > MAX_COMMANDS {
        return Err(node.problem(format_args!("at most {MAX_COMMANDS} commands")));
    }
    let mut commands = BTreeMap::new();
    for (key, value) in entries {
        let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
        let starts = key.text.starts_with(|c: char| c.is_ascii_lowercase());
        if !starts || key.text.len() > 63 || !key.text.chars().all(plain) {
            let text = format!("{:?}: the name of a command is a-z, 0-9 and -", key.text);
            return Err(Problem::new(key.place, text));
        }
        commands.insert(key.text.clone(), command(value)?);
    }
    Ok(commands)
}

fn command(node: &Node) -> Result<SignedCommand, Problem> {
    let mut fields = Fields::new(node, &COMMAND)?;
    let run = fields.read(&["run"], |run| {
        let words = arguments(run)?;
        match words.first() {
            Some(program) if !program.is_empty() && !program.starts_with('-') => Ok(words),
            _ => Err(run.problem("the first word must be a program")),
        }
    });
    let command = SignedCommand {
        args: fields
            .read(&["args"], |n| number(n, 0..=MAX_ARGUMENTS))
            .and_then(|n| n.try_into().ok())
            .unwrap_or(0),
        stdin: fields.read(&["stdin"], boolean).unwrap_or(false),
        user: fields
            .read(&["user"], |n| option(n, "user"))
            .unwrap_or_default(),
        run: run.clone().unwrap_or_default(),
    };
    fields.first()?;
    match run {
        Some(_) => Ok(command),
        None => Err(node.problem("`run` is missing: the program and its arguments")),
    }
}
