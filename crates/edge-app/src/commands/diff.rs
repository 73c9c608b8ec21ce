//! `diff`: what a deploy would change.

use anyhow::Result;
use edge_common::contract::path;
use serde::Serialize;

use crate::device::apps;
use crate::device::ssh::Device;
use crate::exit_code::registry_error;
use crate::output::table;
use crate::project::app::App;
use crate::project::config::Project;

/// From what runs to what would run.
#[derive(Serialize)]
struct Diff {
    app: String,
    device: String,
    running: bool,
    changes: bool,
    version: [Option<String>; 2],
    digest: [Option<String>; 2],
    /// Options that go and that come; nothing if the old ones are not known.
    options: Option<Options>,
}

#[derive(Serialize)]
struct Options {
    removed: Vec<String>,
    added: Vec<String>,
}

fn options(old: &[String], new: &[String]) -> Options {
    let without = |all: &[String], others: &[String]| {
        let left = all.iter().filter(|o| !others.contains(o));
        left.cloned().collect()
    };
    Options {
        removed: without(old, new),
        added: without(new, old),
    }
}

/// Prints it.
///
/// # Errors
/// As the exit codes say.
pub(crate) async fn diff(
    project: &Project,
    app: &App,
    version: &str,
    name: &str,
    json: bool,
) -> Result<()> {
    let device = Device::new(project, name)?;
    let image = project.image(&app.name, version).await?;
    let manifest = project.registry().await?.resolve(&image).await;
    let digest = manifest.map_err(registry_error)?.digest.to_string();
    let apps = apps::on(&device).await?;
    let now = apps.into_iter().find(|a| a.name == app.name);
    let wanted = app.spec.options(&format!("{}/{}", path::APPS, app.name));
    let old = match &now {
        Some(now) => now.options.clone(),
        None => Some(Vec::new()),
    };
    let options = old.map(|old| options(&old, &wanted));
    let same = |o: &Options| o.removed.is_empty() && o.added.is_empty();
    let kept = now.as_ref().and_then(|n| n.digest.as_ref()) == Some(&digest);
    let diff = Diff {
        app: app.name.clone(),
        device: name.into(),
        running: now.as_ref().is_some_and(|n| n.state == "running"),
        changes: !kept || !options.as_ref().is_some_and(same),
        version: [
            now.as_ref().and_then(|n| n.version.clone()),
            Some(version.into()),
        ],
        digest: [now.and_then(|n| n.digest), Some(digest)],
        options,
    };
    if json {
        return table::json(&diff);
    }
    print(&diff);
    Ok(())
}

fn print(diff: &Diff) {
    if !diff.changes {
        println!("{} on {}: nothing would change", diff.app, diff.device);
        return;
    }
    for (what, [old, new]) in [("version", &diff.version), ("digest", &diff.digest)] {
        let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".into());
        if old != new {
            println!("{what:8} {} -> {}", text(old), text(new));
        }
    }
    match &diff.options {
        None => println!("options  not known: what runs was not deployed by edge-app"),
        Some(options) => {
            for option in &options.removed {
                println!("- {option}");
            }
            for option in &options.added {
                println!("+ {option}");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_and_what_comes() {
        let words = |text: &str| text.split(' ').map(String::from).collect::<Vec<_>>();
        let options = options(&words("a b c"), &words("b d"));
        assert_eq!(options.removed, ["a", "c"]);
        assert_eq!(options.added, ["d"]);
    }
}
