//! `list`: what is there.

use std::fs;

use anyhow::{Context, Result};

use crate::config::{Project, registry_error};

/// Prints the project's apps and their versions in the registry.
///
/// # Errors
/// The registry.
pub async fn list(project: &Project) -> Result<()> {
    let mut apps = Vec::new();
    let folder = &project.folder;
    for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let path = entry?.path();
        if path.join("app.yaml").exists() {
            apps.extend(path.file_name().map(|n| n.to_string_lossy().into_owned()));
        }
    }
    apps.sort();
    let mut tags = project
        .registry()
        .await?
        .tags()
        .await
        .map_err(registry_error)?;
    tags.sort();
    let width = apps.iter().map(String::len).max().unwrap_or(0).max(3);
    println!("{:width$}  VERSIONS", "APP");
    for app in &apps {
        // `a-b` and version `c`, or `a` and version `b-c`: the longer name counts.
        let longest = |tag: &str| {
            apps.iter()
                .filter(|a| version(tag, a).is_some())
                .max_by_key(|a| a.len())
        };
        let versions: Vec<_> = tags
            .iter()
            .filter(|t| longest(t) == Some(app))
            .filter_map(|t| version(t, app))
            .collect();
        println!("{app:width$}  {}", versions.join(" "));
    }
    Ok(())
}

fn version<'a>(tag: &'a str, app: &str) -> Option<&'a str> {
    tag.strip_prefix(app)?.strip_prefix('-')
}
