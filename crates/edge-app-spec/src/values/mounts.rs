//! `volumes` and `tmpfs` of `app.yaml`.

use std::collections::BTreeMap;

use super::scalar::{accepted, boolean};
use super::volume::Volume;
use crate::fields::Fields;
use crate::keys::{BIND, TMPFS, VOLUME};
use crate::yaml::{Node, Place, Problem, Value};

/// Mount of an app: a directory of its data, or a file system in memory.
pub(crate) enum Mount {
    Data(Volume),
    Memory(String, String),
}

/// Mounts in the order of the text, with their positions.
pub(crate) type Mounts = Vec<(Place, Mount)>;

impl Mount {
    pub(crate) fn target(&self) -> &str {
        match self {
            Self::Data(volume) => volume.target(),
            Self::Memory(target, _) => target,
        }
    }
}

/// Reads the list `volumes`.
pub(crate) fn volumes(node: &Node) -> Result<Mounts, Problem> {
    let mount = |entry: &Node| {
        let mount = match &entry.value {
            Value::Map(_) => long(entry)?,
            _ => Mount::Data(parsed(entry, entry.text()?.to_string())?),
        };
        Ok((entry.place, mount))
    };
    node.one_or_more()?.iter().map(mount).collect()
}

fn parsed(node: &Node, text: String) -> Result<Volume, Problem> {
    Volume::try_from(text).map_err(|why| node.problem(why))
}

/// Reads the long form: `type`, `source`, `target`, `read_only`, `bind` and `tmpfs`.
fn long(node: &Node) -> Result<Mount, Problem> {
    let mut fields = Fields::new(node, &VOLUME)?;
    let text = |n: &Node| n.text().map(str::to_string);
    let kind = fields.read(&["type"], |n| match n.text()? {
        "bind" | "volume" => Ok("bind"),
        "tmpfs" => Ok("tmpfs"),
        other => Err(n.problem(format_args!("{other:?}: must be bind or tmpfs"))),
    });
    let source = fields.read(&["source"], text);
    let target = fields.read(&["target"], text);
    let read_only = fields.read(&["read_only"], boolean).unwrap_or(false);
    fields.read(&["bind"], |n| {
        let mut bind = Fields::new(n, &BIND)?;
        bind.read(&["create_host_path"], boolean);
        bind.first()
    });
    let memory = fields.find(&["tmpfs"], tmpfs_options);
    fields.first()?;
    let Some(target) = target else {
        return Err(node.problem("`target` is missing: the path in the container"));
    };
    match kind {
        Some("tmpfs") if source.is_none() => {
            let mut options = memory.map(|found| found.value).unwrap_or_default();
            if read_only {
                options.push("ro".into());
            }
            let options = options.join(",");
            let colon = if options.is_empty() { "" } else { ":" };
            accepted(node, "tmpfs", &format!("{target}{colon}{options}"))?;
            Ok(Mount::Memory(target, options))
        }
        Some("tmpfs") => Err(node.problem("a tmpfs has no source")),
        _ if memory.is_some() => Err(node.problem("`tmpfs` needs `type: tmpfs`")),
        _ => {
            let Some(source) = source else {
                return Err(node.problem(
                    "`source` is missing: a directory of the app's data, `.` for all of it",
                ));
            };
            let end = if read_only { ":ro" } else { "" };
            Ok(Mount::Data(parsed(
                node,
                format!("{source}:{target}{end}"),
            )?))
        }
    }
}

fn tmpfs_options(node: &Node) -> Result<Vec<String>, Problem> {
    let mut fields = Fields::new(node, &TMPFS)?;
    let mut options = Vec::new();
    for name in ["size", "mode"] {
        options.extend(fields.read(&[name], |n| Ok(format!("{name}={}", n.text()?))));
    }
    fields.first()?;
    Ok(options)
}

/// Reads `tmpfs`: `PATH[:OPTIONS]`, or a list of them.
pub(crate) fn tmpfs(node: &Node) -> Result<Mounts, Problem> {
    let mount = |entry: &Node| {
        let text = super::scalar::option(entry, "tmpfs")?;
        let (path, options) = text.split_once(':').unwrap_or((&text, ""));
        Ok((entry.place, Mount::Memory(path.into(), options.into())))
    };
    node.one_or_more()?.iter().map(mount).collect()
}

/// Splits the mounts of both keys, and refuses a path in the container that is mounted
/// twice, which the engine would refuse at the start.
pub(crate) fn divided(mounts: Mounts) -> Result<(Vec<Volume>, BTreeMap<String, String>), Problem> {
    let mut places: BTreeMap<String, Place> = BTreeMap::new();
    let (mut volumes, mut memory) = (Vec::new(), BTreeMap::new());
    for (place, mount) in mounts {
        let target = mount.target().trim_end_matches('/').to_string();
        if let Some(first) = places.insert(target.clone(), place) {
            let line = first.line;
            let text = format!("{target} is mounted on line {line} already");
            return Err(Problem::new(place, text));
        }
        match mount {
            Mount::Data(volume) => volumes.push(volume),
            Mount::Memory(target, options) => drop(memory.insert(target, options)),
        }
    }
    Ok((volumes, memory))
}
