//! Names, addresses and the network: `hostname`, `extra_hosts` and `network_mode`.

use super::environment::with_samples;
use super::scalar::{accepted, option, push_new};
use crate::yaml::{Node, Problem, Value};

/// Reads `hostname`, with the placeholders `{thing}` and `{serial}`.
pub(crate) fn hostname(node: &Node) -> Result<String, Problem> {
    let text = node.text()?;
    let sample = with_samples(text);
    if sample.contains(['{', '}']) {
        return Err(node.problem(format_args!(
            "{text:?}: the placeholders are {{thing}} and {{serial}}"
        )));
    }
    accepted(node, "hostname", &sample)?;
    Ok(text.into())
}

/// Reads `network_mode`: `bridge`, `none`, or `host`, which a grant must permit.
pub(crate) fn network_mode(node: &Node) -> Result<String, Problem> {
    let text = node.text()?;
    match text {
        "bridge" | "none" | "host" => option(node, "network"),
        // Networks of a device are no part of what is signed.
        _ => Err(node.problem(format_args!(
            "{text:?}: must be bridge, none, or host, which needs a grant"
        ))),
    }
}

/// Reads `extra_hosts`: a list of `NAME:ADDRESS` or `NAME=ADDRESS`, or a mapping of names
/// to an address or several.
pub(crate) fn extra_hosts(node: &Node) -> Result<Vec<String>, Problem> {
    let mut hosts = Vec::new();
    match &node.value {
        Value::List(entries) => {
            for entry in entries {
                let text = entry.text()?;
                let parts = text.split_once('=').or_else(|| text.split_once(':'));
                let Some((name, address)) = parts else {
                    return Err(entry.problem(format_args!("{text:?}: must be NAME:ADDRESS")));
                };
                add(&mut hosts, entry, name, address)?;
            }
        }
        Value::Map(entries) => {
            for (key, value) in entries {
                for address in value.one_or_more()? {
                    add(&mut hosts, address, &key.text, address.text()?)?;
                }
            }
        }
        _ => return Err(node.unexpected("a list of NAME:ADDRESS, or a mapping")),
    }
    Ok(hosts)
}

fn add(hosts: &mut Vec<String>, node: &Node, name: &str, address: &str) -> Result<(), Problem> {
    let address = address.strip_prefix('[').unwrap_or(address);
    let address = address.strip_suffix(']').unwrap_or(address);
    let host = format!("{name}:{address}");
    accepted(node, "add-host", &host)?;
    push_new(hosts, node, host)
}
