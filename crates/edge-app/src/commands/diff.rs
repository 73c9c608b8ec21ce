//! `diff`: shows the changes that a deployment would make on a device.

use anyhow::Result;
use edge_app_spec::settings_of;
use edge_common::contract::path;
use edge_signature::{Digest, Registry};
use serde::Serialize;

use crate::commands::check;
use crate::device::apps::{self, AppContainer};
use crate::device::ssh::Device;
use crate::exit_code::registry_error;
use crate::output::table;
use crate::project::app::App;
use crate::project::config::Project;
use crate::project::signed_run;

/// Output of `diff --json`: current and new state of an app; pairs are `[current, new]`.
#[derive(Serialize)]
struct Diff {
    app: String,
    device: String,
    running: bool,
    changes: bool,
    version: [Option<String>; 2],
    digest: [Option<String>; 2],
    /// Changes of the container's options; `None` if edge-app did not deploy the current
    /// container, whose options are then unknown.
    options: Option<OptionChanges>,
    /// Changes of `app.yaml` since the version was signed, which a deployment does not
    /// bring; `None` for a version that was signed without its settings.
    since_push: Option<OptionChanges>,
    /// Settings that a device with the default grants would refuse.
    refused: Vec<String>,
}

#[derive(Serialize)]
struct OptionChanges {
    removed: Vec<String>,
    added: Vec<String>,
}

fn option_changes(old: &[String], new: &[String]) -> OptionChanges {
    let without = |all: &[String], others: &[String]| {
        let left = all.iter().filter(|o| !others.contains(o));
        left.cloned().collect()
    };
    OptionChanges {
        removed: without(old, new),
        added: without(new, old),
    }
}

/// Prints the changes that a deployment of `version` would make on the device `name`.
pub(super) async fn diff(
    project: &Project,
    app: &App,
    version: &str,
    name: &str,
    json: bool,
) -> Result<()> {
    let device = Device::new(project, name)?;
    let image = project.image(&app.name, version).await?;
    let registry = project.registry().await?;
    let manifest = registry.resolve(&image).await.map_err(registry_error)?;
    let run = signed_run::digest(&registry, &manifest.digest, &app.name, version).await?;
    let digest = manifest.digest.to_string();
    let apps = apps::on(&device).await?;
    let current = apps.into_iter().find(|a| a.name == app.name);
    let data = format!("{}/{}", path::APPS, app.name);
    // A deployment brings what was signed, and only for a version without signed settings
    // those of today's app.yaml.
    let signed = match &run {
        Some(run) => Some(signed_options(&registry, run, &data).await?),
        None => None,
    };
    let today = settings_of(&app.spec.run_spec(), &data);
    let since_push = signed.as_ref().map(|signed| option_changes(signed, &today));
    let old = current_options(&registry, current.as_ref(), &data).await?;
    let new = signed.unwrap_or_else(|| app.spec.options(&data));
    let options = old.map(|old| option_changes(&old, &new));
    let unchanged = |o: &OptionChanges| o.removed.is_empty() && o.added.is_empty();
    let same_digest = current.as_ref().and_then(|c| c.digest.as_ref()) == Some(&digest);
    let diff = Diff {
        app: app.name.clone(),
        device: name.into(),
        running: current.as_ref().is_some_and(|c| c.state == "running"),
        changes: !same_digest || !options.as_ref().is_some_and(unchanged),
        version: [
            current.as_ref().and_then(|c| c.version.clone()),
            Some(version.into()),
        ],
        digest: [current.and_then(|c| c.digest), Some(digest)],
        options,
        since_push: since_push.filter(|changes| !unchanged(changes)),
        refused: check::refusals(&app.spec)?,
    };
    if json {
        return table::print_json(&diff);
    }
    print(&diff);
    Ok(())
}

/// Returns the options of the container that runs; `None` if they are not known.
async fn current_options(
    registry: &Registry,
    current: Option<&AppContainer>,
    data: &str,
) -> Result<Option<Vec<String>>> {
    let Some(current) = current else {
        return Ok(Some(Vec::new()));
    };
    // Of the signature or of a label that edge-app set: the engine's record of a container
    // also has defaults and resolved values, which would appear as changes.
    match current.run.as_ref().and_then(|run| run.parse().ok()) {
        Some(run) => signed_options(registry, &run, data).await.map(Some),
        None => Ok(current.options.clone()),
    }
}

/// Returns the settings of a signed run specification.
async fn signed_options(registry: &Registry, run: &Digest, data: &str) -> Result<Vec<String>> {
    let spec = signed_run::download(registry, run).await?;
    Ok(settings_of(&spec, data))
}

fn print(diff: &Diff) {
    if let Some(changes) = &diff.since_push {
        println!("app.yaml differs from what was signed; push a new version to deploy this:");
        let lines = changes.removed.iter().map(|o| format!("  - {o}"));
        let added = changes.added.iter().map(|o| format!("  + {o}"));
        lines.chain(added).for_each(|line| println!("{line}"));
    }
    for refusal in &diff.refused {
        println!("refused  {refusal}");
    }
    if !diff.changes {
        println!("{} on {}: nothing would change", diff.app, diff.device);
        return;
    }
    for (field, [old, new]) in [("version", &diff.version), ("digest", &diff.digest)] {
        let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "none".into());
        if old != new {
            println!("{field:8} {} -> {}", text(old), text(new));
        }
    }
    match &diff.options {
        None => println!("options  not known: edge-app did not deploy the running container"),
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
    fn removed_and_added_options() {
        let options = |text: &str| text.split(' ').map(String::from).collect::<Vec<_>>();
        let changes = option_changes(&options("a b c"), &options("b d"));
        assert_eq!(changes.removed, ["a", "c"]);
        assert_eq!(changes.added, ["d"]);
    }
}
