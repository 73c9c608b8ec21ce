//! `init`: creates the directory of a new app, which can be built and deployed without
//! changes.

use std::path::Path;

use anyhow::{Context, Result};
use edge_common::exit::Failure;
use edge_common::file;

use crate::project::app::check_name;
use crate::project::config::FILE_NAME;

/// Template whose files `edge-app init` writes into the directory of a new app.
#[derive(Clone, Copy, clap::ValueEnum)]
pub(crate) enum Template {
    /// Web server of busybox
    Plain,
    /// Web server in Python
    Python,
    /// Program on NVIDIA's L4T base, with the grant `gpu`
    Gpu,
}

const PROJECT: &str = include_str!("../../templates/edge-app.yaml");
const DOCKERIGNORE: &str = include_str!("../../templates/dockerignore");
const GITIGNORE: &str = include_str!("../../templates/gitignore");
/// Files of the project that are written unless they exist.
const PROJECT_FILES: [(&str, &str); 2] = [(FILE_NAME, PROJECT), (".gitignore", GITIGNORE)];

/// Expands to the files of a template as `(name, content)`. The content is included at
/// compile time, so that edge-app is a single file without a data directory.
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

/// Creates the app directory `name` in `project`, by default in the project that contains
/// the current directory, and an `edge-app.yaml` if the project has none.
pub(crate) fn init(project: Option<&Path>, name: &str, template: Template) -> Result<()> {
    check_name(name)?;
    let current = std::env::current_dir().context("finding the current directory")?;
    let above = current.ancestors().find(|d| d.join(FILE_NAME).exists());
    let directory = match project {
        Some(directory) => current.join(directory),
        None => above.unwrap_or(&current).to_path_buf(),
    };
    let app = directory.join(name);
    if app.exists() {
        let why = format!("{} is already there: not overwritten", app.display());
        return Err(Failure::error(2, why));
    }
    file::create_directory(&app, 0o755)?;
    let mut written = Vec::new();
    for (name, text) in PROJECT_FILES {
        let path = directory.join(name);
        // A dangling link is somebody's, too.
        if path.symlink_metadata().is_err() {
            file::write(&path, text.as_bytes(), 0o644)?;
            written.push(path);
        }
    }
    let ignore = (".dockerignore", DOCKERIGNORE);
    for (file, text) in template.files().iter().chain([&ignore]) {
        let text = text.replace("{name}", name);
        file::write(&app.join(file), text.as_bytes(), 0o644)?;
        written.push(app.join(file));
    }
    for path in written {
        println!("{}", path.strip_prefix(&current).unwrap_or(&path).display());
    }
    // A production device refuses unsigned images, so the signed way comes first.
    eprintln!(
        "Next:\n  \
         edge-app doctor      # says what edge-app.yaml still lacks\n  \
         edge-app build {name} --version v1\n  \
         edge-app push {name} --version v1\n  \
         edge-app deploy {name} DEVICE --version v1\n\
         On a development device also, without a signature:\n  \
         edge-app sandbox {name} DEVICE"
    );
    Ok(())
}
