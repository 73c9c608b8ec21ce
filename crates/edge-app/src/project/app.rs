//! App of the project: its directory, its `app.yaml`, its version.

use std::path::PathBuf;

use anyhow::Result;
use edge_app_spec::Spec;
use edge_common::contract::suffix::RESERVED;
use edge_common::exit::Failure;
use edge_signature::{valid_app, valid_version};

use crate::exit_code::CONFIGURATION;
use crate::project::config::{self, Project};

/// App with its directory.
pub(crate) struct App {
    /// Directory of the app.
    pub(crate) directory: PathBuf,
    /// Name of the app and of its directory.
    pub(crate) name: String,
    /// Content of `app.yaml`.
    pub(crate) spec: Spec,
}

impl App {
    /// Loads the app `name` of the project. A Dockerfile is not required: `push --from`
    /// copies an image that was built elsewhere.
    pub(crate) fn load(project: &Project, name: &str) -> Result<Self> {
        check_name(name)?;
        let directory = project.directory.join(name);
        let failure =
            |what: &str, next: &str| Failure::error(CONFIGURATION, format_args!("{what}: {next}"));
        if !directory.is_dir() {
            let what = format!(
                "there is no app {name:?} in {}",
                project.directory.display()
            );
            return Err(failure(&what, "`edge-app list` shows the apps"));
        }
        if !directory.join("app.yaml").exists() {
            return Err(failure(
                &format!("{name} has no app.yaml"),
                "write one; `name: NAME` suffices",
            ));
        }
        let spec: Spec = config::parse(&directory.join("app.yaml"), &format!("{name}/app.yaml"))?;
        // A copied directory with the old name would replace the other app's container.
        if spec.name() != name {
            let what = format!("{name}/app.yaml: name is {:?}", spec.name());
            return Err(failure(&what, "it must be the name of the directory"));
        }
        Ok(Self {
            directory,
            name: name.into(),
            spec,
        })
    }

    /// Returns the requested version, or else the output of `git describe`.
    pub(crate) async fn version(&self, requested: Option<&str>) -> Result<String> {
        let version = match requested {
            Some(version) => version.to_string(),
            None => self.describe().await?,
        };
        if !valid_version(&version) {
            return Err(Failure::error(
                2,
                format_args!("version {version:?} is not 1 to 48 of A-Z, a-z, 0-9, _, . and -"),
            ));
        }
        Ok(version)
    }

    async fn describe(&self) -> Result<String> {
        let described = self.git(&["describe", "--always", "--dirty", "--tags"]);
        let text = described.await.ok_or_else(|| {
            Failure::error(2, "the app is in no git repository: give --version V")
        })?;
        // Git tags may hold slashes (`release/1.2`), tags of images may not.
        Ok(text.replace('/', "-"))
    }

    /// Returns the commit of the working copy, with `-dirty` if the app's files differ
    /// from it; `None` outside a repository. It is signed as information for people, so
    /// that its absence is no error.
    pub(crate) async fn commit(&self) -> Option<String> {
        let commit = self.git(&["rev-parse", "HEAD"]).await?;
        let changes = self.git(&["status", "--porcelain", "--", "."]).await?;
        let mark = if changes.is_empty() { "" } else { "-dirty" };
        Some(format!("{commit}{mark}"))
    }

    async fn git(&self, arguments: &[&str]) -> Option<String> {
        let git = which::which("git").ok()?;
        let output = tokio::process::Command::from(edge_common::Root::system().command(git))
            .arg("-C")
            .arg(&self.directory)
            .args(arguments)
            .kill_on_drop(true)
            .output()
            .await
            .ok()?;
        let text = String::from_utf8_lossy(&output.stdout);
        output.status.success().then(|| text.trim().to_string())
    }
}

/// Checks a name that becomes a directory, a tag, a container and a path on the device.
pub(crate) fn check_name(name: &str) -> Result<()> {
    // edge-docker gives these names to containers during a deployment.
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
