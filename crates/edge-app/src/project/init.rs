//! `init`: a directory that builds and deploys as it is.

use std::path::Path;

use anyhow::{Context, Result};
use edge_common::exit::Failure;
use edge_common::file;

use crate::project::app::check_name;
use crate::project::config::NAME;

/// What to begin with.
#[derive(Clone, Copy, clap::ValueEnum)]
pub(crate) enum Template {
    /// A web server of busybox
    Plain,
    /// A web server in Python
    Python,
    /// On NVIDIA's L4T base, with the grant `gpu`
    Gpu,
}

const PROJECT: &str = include_str!("../../templates/edge-app.yaml");
const IGNORE: &str = include_str!("../../templates/dockerignore");

/// Files of a template: name and content.
macro_rules! files {
    ($directory:literal: $($name:literal),+) => {
        &[$(($name, include_str!(concat!("../../templates/", $directory, "/", $name)))),+]
    };
}

impl Template {
    fn files(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Plain => files!("plain": "app.yaml", "Dockerfile", "start"),
            Self::Python => {
                files!("python": "app.yaml", "Dockerfile", "main.py", "requirements.txt")
            }
            Self::Gpu => files!("gpu": "app.yaml", "Dockerfile", "start"),
        }
    }
}

/// Writes the directory `name` in `project`, and there an edge-app.yaml if none is
/// found from there upwards.
///
/// # Errors
/// A directory that is already there.
pub(crate) fn init(project: Option<&Path>, name: &str, template: Template) -> Result<()> {
    check_name(name)?;
    let here = std::env::current_dir().context("finding the current directory")?;
    let above = here.ancestors().find(|f| f.join(NAME).exists());
    let directory = match project {
        Some(directory) => here.join(directory),
        None => above.unwrap_or(&here).to_path_buf(),
    };
    let app = directory.join(name);
    if app.exists() {
        let why = format!("{} is already there: not overwritten", app.display());
        return Err(Failure::error(2, why));
    }
    file::create_directory(&app, 0o755)?;
    let mut written = Vec::new();
    if !directory.join(NAME).exists() {
        file::write(&directory.join(NAME), PROJECT.as_bytes(), 0o644)?;
        written.push(directory.join(NAME));
    }
    for (file, text) in template.files().iter().chain([&(".dockerignore", IGNORE)]) {
        let text = text.replace("{name}", name);
        file::write(&app.join(file), text.as_bytes(), 0o644)?;
        written.push(app.join(file));
    }
    for path in written {
        println!("{}", path.strip_prefix(&here).unwrap_or(&path).display());
    }
    eprintln!("Next: edge-app doctor; edge-app sandbox {name} DEVICE");
    Ok(())
}
