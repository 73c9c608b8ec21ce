//! Scalar values: texts, numbers, sizes and durations.

use std::ops::RangeInclusive;

use edge_docker_policy::bounds::MIN_STORAGE_BYTES;
use edge_docker_policy::cli::request;
use edge_signature::valid_app;
use serde_json::Value;

use crate::yaml::{Node, Problem};

/// Nanoseconds in a millisecond, the unit of durations in a run specification.
const NANOSECONDS: i64 = 1_000_000;
/// Least processor limit in billionths of a processor: docker takes no less than 0.01.
const MIN_NANO_CPUS: i64 = 10_000_000;

/// Checks a value with the device's parser of the option `--option` of `run`. Returns
/// the create body that the device would make of it.
pub(crate) fn accepted(node: &Node, option: &str, value: &str) -> Result<Value, Problem> {
    let argument = format!("--{option}={value}");
    let request = request::parse(&[&argument, "image"]);
    let request = request.map_err(|error| refused(node, option, &error))?;
    serde_json::to_value(&request.body).map_err(|error| node.problem(error))
}

/// Reads the number at `pointer` in the create body that the device makes of a value.
fn quantity(node: &Node, option: &str, pointer: &str) -> Result<i64, Problem> {
    let body = accepted(node, option, node.text()?)?;
    let number = body.pointer(pointer).and_then(Value::as_i64);
    number.ok_or_else(|| node.problem(format_args!("`{option}` has no number")))
}

/// Returns the device's refusal of a value, without the name of the option: it stands at
/// the key of `app.yaml`.
pub(crate) fn refused(node: &Node, option: &str, error: &anyhow::Error) -> Problem {
    let text = error.to_string();
    let text = text
        .strip_prefix(&format!("--{option} "))
        .unwrap_or(&text)
        .to_string();
    let hint = match node.text().is_ok_and(|t| t.contains("${")) {
        true => "; variables as in compose files are not replaced here",
        false => "",
    };
    node.problem(format_args!("{text}{hint}"))
}

/// Reads the text of an option, and checks it with the device's parser.
pub(crate) fn option(node: &Node, option: &str) -> Result<String, Problem> {
    let text = node.text()?;
    accepted(node, option, text)?;
    Ok(text.into())
}

/// Reads a list of texts of an option, none of them twice.
pub(crate) fn options(node: &Node, name: &str) -> Result<Vec<String>, Problem> {
    let mut texts = Vec::new();
    for entry in node.one_or_more()? {
        push_new(&mut texts, entry, option(entry, name)?)?;
    }
    Ok(texts)
}

/// Adds a value to a list; one that is in it already is a mistake.
pub(crate) fn push_new(list: &mut Vec<String>, node: &Node, value: String) -> Result<(), Problem> {
    if list.contains(&value) {
        return Err(node.problem(format_args!("{value:?} is in the list already")));
    }
    list.push(value);
    Ok(())
}

/// Reads the name of an app: 1 to 63 of a-z, 0-9 and `-`, without `-` at either end.
pub(crate) fn app_name(node: &Node) -> Result<String, Problem> {
    let text = node.text()?;
    if valid_app(text) {
        return Ok(text.into());
    }
    Err(node.problem(format_args!(
        "{text:?}: a name is 1 to 63 of a-z, 0-9 and -, not - at either end"
    )))
}

/// Reads a text on one line. Messages and logs replace each control character by a
/// space: the text would look different from the value that the container gets.
pub(crate) fn line(node: &Node) -> Result<String, Problem> {
    let text = node.text()?;
    if text.chars().any(char::is_control) {
        let text = "control characters are not allowed: write the text on one line";
        return Err(node.problem(text));
    }
    Ok(text.into())
}

pub(crate) fn boolean(node: &Node) -> Result<bool, Problem> {
    match node.text()? {
        "true" | "True" | "TRUE" => Ok(true),
        "false" | "False" | "FALSE" => Ok(false),
        other => Err(node.problem(format_args!("{other:?} is not true or false"))),
    }
}

/// Reads a number in decimal digits.
pub(crate) fn number(node: &Node, bounds: RangeInclusive<i64>) -> Result<i64, Problem> {
    let text = node.text()?;
    let digits = text.strip_prefix('-').unwrap_or(text);
    let decimal = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    // A leading zero means octal to some programs and nothing to others.
    let plain = decimal && (digits == "0" || !digits.starts_with('0'));
    let value = text.parse().ok().filter(|v| plain && bounds.contains(v));
    value.ok_or_else(|| {
        let (least, most) = (bounds.start(), bounds.end());
        node.problem(format_args!(
            "{text:?}: must be a number from {least} to {most}"
        ))
    })
}

/// Reads a size such as `512m` or `1.5g`, at least one byte.
pub(crate) fn bytes(node: &Node) -> Result<i64, Problem> {
    positive(node, quantity(node, "memory", "/HostConfig/Memory")?)
}

/// Reads the limit of what an app stores, at least the room that a start needs.
pub(crate) fn storage_bytes(node: &Node) -> Result<i64, Problem> {
    let value = bytes(node)?;
    if u64::try_from(value).unwrap_or(0) < MIN_STORAGE_BYTES {
        let text = node.text()?;
        return Err(node.problem(format_args!(
            "{text:?} is less than a start of the app needs: state at least 1m"
        )));
    }
    Ok(value)
}

/// Reads the size of `/dev/shm`.
pub(crate) fn shm_bytes(node: &Node) -> Result<i64, Problem> {
    positive(node, quantity(node, "shm-size", "/HostConfig/ShmSize")?)
}

/// Refuses 0, which stands for the default in a run specification.
fn positive(node: &Node, value: i64) -> Result<i64, Problem> {
    if value == 0 {
        return Err(node.problem("must be more than 0"));
    }
    Ok(value)
}

/// Reads a duration such as `1m30s`, in milliseconds.
pub(crate) fn milliseconds(node: &Node) -> Result<i64, Problem> {
    let nanoseconds = quantity(node, "health-interval", "/Healthcheck/Interval")?;
    if nanoseconds % NANOSECONDS != 0 {
        return Err(node.problem("must be whole milliseconds"));
    }
    Ok(nanoseconds / NANOSECONDS)
}

/// Reads a duration in seconds, at most an hour.
pub(crate) fn seconds(node: &Node) -> Result<i64, Problem> {
    let milliseconds = milliseconds(node)?;
    if milliseconds % 1000 != 0 || milliseconds > 3_600_000 {
        return Err(node.problem("must be whole seconds, at most 1h"));
    }
    Ok(milliseconds / 1000)
}

/// Reads a number of processors such as `1.5`, in billionths.
pub(crate) fn cpus(node: &Node) -> Result<i64, Problem> {
    let cpus = quantity(node, "cpus", "/HostConfig/NanoCpus");
    match cpus {
        Ok(cpus) if cpus >= MIN_NANO_CPUS => Ok(cpus),
        _ => Err(node.problem(format_args!(
            "{:?}: must be a number of processors, 0.01 to 1024",
            node.text()?
        ))),
    }
}

/// Reads a list of capabilities, in capital letters and without `CAP_`.
pub(crate) fn capabilities(node: &Node, option: &str) -> Result<Vec<String>, Problem> {
    let mut names = Vec::new();
    for entry in node.one_or_more()? {
        let upper = entry.text()?.to_ascii_uppercase();
        let name = upper.strip_prefix("CAP_").unwrap_or(&upper);
        accepted(entry, option, name)?;
        push_new(&mut names, entry, name.into())?;
    }
    Ok(names)
}
