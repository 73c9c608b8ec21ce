//! Settings with a form of their own: `ulimits`, `sysctls`, `storage`, `restart`,
//! `requires` and `unit`.

use std::collections::BTreeMap;

use edge_docker_policy::run_spec::{
    MAY_NEED, Requires, StorageOwner, UlimitPair, Unit, is_calendar, is_unit_name,
};

use super::scalar::{accepted, bytes, number, options, push_new, storage_bytes};
use crate::fields::Fields;
use crate::keys::{REQUIRES, STORAGE, ULIMIT, UNIT};
use crate::yaml::{Node, Problem, Value};

/// Reads `ulimits`: for each name a number, or `soft` and `hard`.
pub(crate) fn ulimits(node: &Node) -> Result<BTreeMap<String, UlimitPair>, Problem> {
    let mut limits = BTreeMap::new();
    for (key, value) in node.map()? {
        let pair = match &value.value {
            Value::Map(_) => {
                let mut fields = Fields::new(value, &ULIMIT)?;
                let soft = fields.read(&["soft"], limit);
                let hard = fields.read(&["hard"], limit);
                fields.first()?;
                match (soft, hard) {
                    (Some(soft), Some(hard)) => UlimitPair { hard, soft },
                    _ => return Err(value.problem("`soft` and `hard` are both needed")),
                }
            }
            _ => {
                let value = limit(value)?;
                UlimitPair {
                    hard: value,
                    soft: value,
                }
            }
        };
        let unlimited = |v: i64| if v == -1 { i64::MAX } else { v };
        if unlimited(pair.soft) > unlimited(pair.hard) {
            return Err(value.problem("`soft` is above `hard`"));
        }
        accepted(
            value,
            "ulimit",
            &format!("{}={}:{}", key.text, pair.soft, pair.hard),
        )?;
        limits.insert(key.text.clone(), pair);
    }
    Ok(limits)
}

fn limit(node: &Node) -> Result<i64, Problem> {
    number(node, -1..=i64::MAX)
}

/// Reads `sysctls`: a mapping, or a list of `NAME=VALUE`.
pub(crate) fn sysctls(node: &Node) -> Result<BTreeMap<String, String>, Problem> {
    let mut sysctls = BTreeMap::new();
    let mut add = |node: &Node, name: &str, value: &str| {
        accepted(node, "sysctl", &format!("{name}={value}"))?;
        match sysctls.insert(name.to_string(), value.to_string()) {
            None => Ok(()),
            Some(_) => Err(node.problem(format_args!("{name} is in the list already"))),
        }
    };
    match &node.value {
        Value::Map(entries) => {
            for (key, value) in entries {
                add(value, &key.text, value.text()?)?;
            }
        }
        Value::List(entries) => {
            for entry in entries {
                let text = entry.text()?;
                let (name, value) = text
                    .split_once('=')
                    .ok_or_else(|| entry.problem(format_args!("{text:?}: must be NAME=VALUE")))?;
                add(entry, name, value)?;
            }
        }
        _ => return Err(node.unexpected("a mapping, or a list of NAME=VALUE")),
    }
    Ok(sysctls)
}

/// Reads `storage`: a size, or `limit` and `owner`.
pub(crate) fn storage(node: &Node) -> Result<(i64, StorageOwner), Problem> {
    let Value::Map(_) = node.value else {
        return Ok((storage_bytes(node)?, StorageOwner::Kept));
    };
    let mut fields = Fields::new(node, &STORAGE)?;
    let limit = fields.read(&["limit"], storage_bytes).unwrap_or(0);
    let owner = fields.read(&["owner"], |n| match n.text()? {
        "app" => Ok(StorageOwner::App),
        other => Err(n.problem(format_args!(
            "{other:?}: must be `app`, the user of the app's container; without `owner`, files \
             keep their owners"
        ))),
    });
    fields.first()?;
    Ok((limit, owner.unwrap_or_default()))
}

/// Reads `requires`.
pub(crate) fn requires(node: &Node) -> Result<Requires, Problem> {
    let mut fields = Fields::new(node, &REQUIRES)?;
    let requires = Requires {
        architecture: fields
            .read(&["architecture"], |n| match n.text()? {
                text @ ("arm64" | "amd64") => Ok(text.to_string()),
                other => Err(n.problem(format_args!("{other:?}: must be arm64 or amd64"))),
            })
            .unwrap_or_default(),
        disk: fields.read(&["disk"], bytes).unwrap_or(0),
        image: fields.read(&["image"], version).unwrap_or_default(),
        l4t: fields.read(&["l4t"], numbers).unwrap_or_default(),
        memory: fields.read(&["memory"], bytes).unwrap_or(0),
    };
    fields.first()?;
    Ok(requires)
}

/// Reads the lowest version of L4T, such as `36.4`.
fn numbers(node: &Node) -> Result<String, Problem> {
    let text = node.text()?;
    let number =
        |part: &str| (1..=4).contains(&part.len()) && part.bytes().all(|b| b.is_ascii_digit());
    if text.split('.').count() > 3 || !text.split('.').all(number) {
        return Err(node.problem(format_args!(
            "{text:?}: must be the lowest version of L4T, for example 36.4"
        )));
    }
    Ok(text.into())
}

/// Reads the lowest version of the device image.
fn version(node: &Node) -> Result<String, Problem> {
    let text = node.text()?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-+".contains(c);
    let starts = text.starts_with(|c: char| c.is_ascii_alphanumeric());
    if !starts || text.len() > 64 || !text.chars().all(allowed) {
        return Err(node.problem(format_args!(
            "{text:?}: must be the lowest version of the device's image, for example 1.4.0"
        )));
    }
    Ok(text.into())
}

/// Reads `unit`.
pub(crate) fn unit(node: &Node) -> Result<Unit, Problem> {
    let mut fields = Fields::new(node, &UNIT)?;
    let unit = Unit {
        after: fields.read(&["after"], units).unwrap_or_default(),
        timer: fields.read(&["timer"], calendar).unwrap_or_default(),
        wants: fields.read(&["wants"], wanted).unwrap_or_default(),
    };
    fields.first()?;
    Ok(unit)
}

/// Reads names of systemd's units. They become lines of a unit file.
fn units(node: &Node) -> Result<Vec<String>, Problem> {
    let mut names = Vec::new();
    for entry in node.one_or_more()? {
        let text = entry.text()?;
        if !is_unit_name(text) {
            return Err(entry.problem(format_args!(
                "{text:?}: must be the name of a unit, for example network-online.target"
            )));
        }
        push_new(&mut names, entry, text.into())?;
    }
    Ok(names)
}

/// Reads names of units that edge-generator lets an app pull in.
fn wanted(node: &Node) -> Result<Vec<String>, Problem> {
    let names = units(node)?;
    let entries = node.one_or_more()?.iter().zip(&names);
    for (entry, name) in entries {
        if !MAY_NEED.contains(&name.as_str()) {
            return Err(entry.problem(format_args!(
                "{name:?} is refused: the units that an app may start are {}; write `after` for \
                 one that the device starts by itself, such as another app's",
                MAY_NEED.join(", ")
            )));
        }
    }
    Ok(names)
}

/// Reads a calendar expression of systemd, for example `daily` or `Mon *-*-* 03:00`.
fn calendar(node: &Node) -> Result<String, Problem> {
    let text = node.text()?;
    if !is_calendar(text) {
        return Err(node.problem(format_args!(
            "{text:?}: must be a calendar expression of systemd, for example daily or *-*-* 03:00; \
             `systemd-analyze calendar` checks one"
        )));
    }
    Ok(text.into())
}

/// Reads `restart`; `no` is the empty text in a run specification.
pub(crate) fn restart(node: &Node) -> Result<String, Problem> {
    let text = node.text()?;
    accepted(node, "restart", text)?;
    Ok(if text == "no" {
        String::new()
    } else {
        text.into()
    })
}

/// Reads names of grants, for example `gpu` or `i2c:7`.
pub(crate) fn grants(node: &Node) -> Result<Vec<String>, Problem> {
    for entry in node.one_or_more()? {
        let text = entry.text()?;
        // Grants are joined by commas in the signature.
        let allowed = |c: char| c.is_ascii_alphanumeric() || "_.-:".contains(c);
        let starts = text.starts_with(|c: char| c.is_ascii_alphanumeric());
        if !starts || text.len() > 64 || !text.chars().all(allowed) {
            return Err(entry.problem(format_args!(
                "{text:?}: the name of a grant is letters, digits and _ . - :, without blanks, \
                 commas and a leading -"
            )));
        }
    }
    options(node, "grant")
}
