//! `health` (or `healthcheck`) and `logging`.

use std::collections::BTreeMap;

use edge_docker_policy::run_spec::{Healthcheck, Logging};

use super::program::{arguments, shell_command};
use super::scalar::{accepted, boolean, milliseconds, number, refused};
use crate::fields::Fields;
use crate::keys::{HEALTH, LOGGING};
use crate::yaml::{Node, Problem, Value};

/// Reads `health`.
pub(crate) fn healthcheck(node: &Node) -> Result<Healthcheck, Problem> {
    let mut fields = Fields::new(node, &HEALTH)?;
    let test = fields.read(&["test", "command"], test);
    let disable = fields.find(&["disable"], boolean);
    let mut time = |name| fields.read(&[name], milliseconds).unwrap_or(0);
    let mut check = Healthcheck {
        interval: time("interval"),
        start_interval: time("start_interval"),
        start_period: time("start_period"),
        timeout: time("timeout"),
        test: test.unwrap_or_default(),
        retries: 0,
    };
    let retries = fields.read(&["retries"], |n| number(n, 0..=1000));
    check.retries = retries.unwrap_or(0);
    fields.first()?;
    let disabled = disable.is_some_and(|found| found.value);
    if disabled || check.test == ["NONE"] {
        let none = Healthcheck {
            test: vec!["NONE".into()],
            ..Healthcheck::default()
        };
        let bare = Healthcheck {
            test: none.test.clone(),
            ..check.clone()
        };
        if bare != none || !(check.test.is_empty() || check.test == none.test) {
            return Err(node.problem("a check that is switched off has no other settings"));
        }
        return Ok(none);
    }
    if check == Healthcheck::default() {
        return Err(node.problem("`test` is missing: the command of the check"));
    }
    Ok(check)
}

/// Reads `test`: a shell command, or a list that begins with CMD, CMD-SHELL or NONE.
fn test(node: &Node) -> Result<Vec<String>, Problem> {
    let words = match &node.value {
        Value::Text(text) if text == "NONE" => {
            return Err(node.problem("write `disable: true`, or [NONE] for the word itself"));
        }
        Value::Text(_) => vec!["CMD-SHELL".into(), shell_command(node)?],
        _ => arguments(node)?,
    };
    let words_of: Vec<&str> = words.iter().map(String::as_str).collect();
    match &words_of[..] {
        ["NONE"] => {}
        ["CMD", program, ..] if !program.is_empty() => {}
        ["CMD-SHELL", command] if !command.trim().is_empty() => {
            accepted(node, "health-cmd", command)?;
        }
        ["CMD-SHELL", ..] => {
            return Err(node.problem("CMD-SHELL takes one command: put it in one text"));
        }
        _ => {
            return Err(node.problem(
                "a list begins with CMD, CMD-SHELL or NONE: [CMD, PROGRAM, ARGUMENT, …]",
            ));
        }
    }
    Ok(words)
}

/// Reads `logging`.
pub(crate) fn logging(node: &Node) -> Result<Logging, Problem> {
    let mut fields = Fields::new(node, &LOGGING)?;
    let driver = fields.read(&["driver"], |n| {
        let text = n.text()?;
        accepted(n, "log-driver", text)?;
        Ok(text.to_string())
    });
    let options = fields.read(&["options"], log_options);
    fields.first()?;
    let logging = Logging {
        driver: driver.unwrap_or_default(),
        options: options.unwrap_or_default(),
    };
    together(node, &logging)?;
    Ok(logging)
}

fn log_options(node: &Node) -> Result<BTreeMap<String, String>, Problem> {
    let mut options = BTreeMap::new();
    for (key, value) in node.map()? {
        let text = value.text()?;
        accepted(value, "log-opt", &format!("{}={text}", key.text))?;
        options.insert(key.text.clone(), text.into());
    }
    Ok(options)
}

/// Checks driver and options together: some options belong to one driver.
fn together(node: &Node, logging: &Logging) -> Result<(), Problem> {
    let mut args = Vec::new();
    if !logging.driver.is_empty() {
        args.push(format!("--log-driver={}", logging.driver));
    }
    let options = logging.options.iter();
    args.extend(options.map(|(name, value)| format!("--log-opt={name}={value}")));
    args.push("image".into());
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    edge_docker_policy::cli::request::parse(&args)
        .map(drop)
        .map_err(|error| refused(node, "log-opt", &error))
}
