//! An app of the project: its directory, its `app.yaml`, its version.

use std::path::PathBuf;

use anyhow::Result;
use edge_app_spec::Spec;
use edge_common::contract::suffix::RESERVED;
use edge_common::exit::Failure;
use edge_signature::{valid_app, valid_version};

use crate::exit_code::CONFIGURATION;
use crate::project::config::{self, Project};

/// An app and its directory.
pub(crate) struct App {
    /// Where it lies.
    pub(crate) directory: PathBuf,
    /// Its name.
    pub(crate) name: String,
    /// What `app.yaml` says.
    pub(crate) spec: Spec,
}

impl App {
    /// Reads the app `name` of the project.
    ///
    /// # Errors
    /// No such directory, no Dockerfile, `app.yaml` absent or malformed.
    pub(crate) fn load(project: &Project, name: &str) -> Result<Self> {
        check_name(name)?;
        let directory = project.directory.join(name);
        let missing =
            |what: &str, next: &str| Failure::error(CONFIGURATION, format_args!("{what}: {next}"));
        if !directory.is_dir() {
            let what = format!(
                "there is no app {name:?} in {}",
                project.directory.display()
            );
            return Err(missing(&what, "`edge-app list` shows those that are there"));
        }
        if !directory.join("app.yaml").exists() {
            return Err(missing(
                &format!("{name} has no app.yaml"),
                "write one; `name: NAME` suffices",
            ));
        }
        let spec: Spec = config::parse(&directory.join("app.yaml"), &format!("{name}/app.yaml"))?;
        if spec.name() != name {
            let what = format!("{name}/app.yaml: name is {:?}", spec.name());
            return Err(missing(&what, "it must be the name of the directory"));
        }
        Ok(Self {
            directory,
            name: name.into(),
            spec,
        })
    }

    /// The version that is asked for, or what git calls the app's state.
    ///
    /// # Errors
    /// A version that cannot be part of a tag; no git.
    pub(crate) async fn version(&self, asked: Option<&str>) -> Result<String> {
        let version = match asked {
            Some(version) => version.to_string(),
            None => self.git().await?,
        };
        if !valid_version(&version) {
            return Err(Failure::error(
                2,
                format_args!("version {version:?} is not 1 to 48 of A-Z, a-z, 0-9, _, . and -"),
            ));
        }
        Ok(version)
    }

    async fn git(&self) -> Result<String> {
        let described = self.ask_git(&["describe", "--always", "--dirty", "--tags"]);
        let text = described.await.ok_or_else(|| {
            Failure::error(2, "the app is in no git repository: give --version V")
        })?;
        // A tag may hold what a version may not.
        Ok(text.replace('/', "-"))
    }

    /// The commit that the app is at, with `-dirty` if it is not exactly that.
    pub(crate) async fn revision(&self) -> Option<String> {
        let commit = self.ask_git(&["rev-parse", "HEAD"]).await?;
        let changed = self.ask_git(&["status", "--porcelain", "--", "."]).await?;
        let mark = if changed.is_empty() { "" } else { "-dirty" };
        Some(format!("{commit}{mark}"))
    }

    async fn ask_git(&self, words: &[&str]) -> Option<String> {
        let git = which::which("git").ok()?;
        let output = tokio::process::Command::from(edge_common::Root::system().command(git))
            .arg("-C")
            .arg(&self.directory)
            .args(words)
            .kill_on_drop(true)
            .output()
            .await
            .ok()?;
        let text = String::from_utf8_lossy(&output.stdout);
        output.status.success().then(|| text.trim().to_string())
    }
}

/// A name that is safe everywhere: directory, tag, container, path.
///
/// # Errors
/// Wrong usage.
pub(crate) fn check_name(name: &str) -> Result<()> {
    if let Some(end) = RESERVED.iter().find(|r| name.ends_with(*r)) {
        return Err(Failure::error(
            2,
            format_args!("{name:?} is not the name of an app: names ending in {end} are reserved"),
        ));
    }
    if valid_app(name) {
        return Ok(());
    }
    Err(Failure::error(
        2,
        format_args!("{name:?} is not the name of an app: 1 to 63 of a-z, 0-9 and -"),
    ))
}
