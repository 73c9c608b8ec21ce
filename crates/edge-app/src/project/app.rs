//! App of a project: its directory, the content of `app.yaml`, and its version from git.

use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail};
use edge_app_spec::Spec;
use edge_common::contract::suffix::RESERVED;
use edge_common::exit::Failure;
use edge_common::file;
use edge_signature::{valid_app, valid_version};

use crate::exit_code::CONFIGURATION;
use crate::project::config::{MAX_FILE_BYTES, Project};
use crate::project::git::{self, Git};

/// Size limit of a file of `env_file` in bytes, that of a run specification.
const MAX_ENV_FILE_BYTES: u64 = edge_docker_policy::run_spec::MAX_RUN_SPEC_BYTES as u64;

/// App of a project, loaded by [`App::load`].
pub(crate) struct App {
    /// Absolute path of the app's directory, which is the build context of docker.
    pub(crate) directory: PathBuf,
    /// App name, which is also the name of the directory and of the container.
    pub(crate) name: String,
    /// Parsed content of the app's `app.yaml`.
    pub(crate) spec: Spec,
}

impl App {
    /// Loads the app `name` from the project's directory of that name. A Dockerfile is
    /// not required, since `push --from` copies an image that was built elsewhere.
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
        let text = file::read_text(&directory.join("app.yaml"), MAX_FILE_BYTES)
            .map_err(|e| Failure::wrap(CONFIGURATION, e))?;
        let beside = |path: &str| read_beside(&directory, path).map_err(|e| format!("{e:#}"));
        let spec = Spec::parse(&text, &format!("{name}/app.yaml"), &beside)
            .map_err(|why| Failure::error(CONFIGURATION, why))?;
        // A name that differs from the directory's is an error: a copied directory would
        // otherwise replace the container of the original app.
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

    /// Returns the version `requested`, or else the output of `git describe`; checks that
    /// the version can be part of an image tag.
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
        let text = match git::run(
            &self.directory,
            &["describe", "--always", "--dirty", "--tags"],
        )
        .await
        {
            Git::Output(text) => text,
            Git::Failed(output) => {
                let why = format!("git names no version: {output}; or give --version V");
                return Err(Failure::error(2, why));
            }
            Git::Absent => {
                let why = "git is not installed, so there is no version: give --version V";
                return Err(Failure::error(2, why));
            }
        };
        // Git tags may contain slashes (`release/1.2`), but image tags may not.
        Ok(text.replace('/', "-"))
    }

    /// Returns the commit hash of the git working copy, with `-dirty` if files of the app
    /// differ from the commit; `None` outside a git repository. The commit is signed only
    /// as information for people, so its absence is not an error.
    pub(crate) async fn commit(&self) -> Option<String> {
        let commit = git::run(&self.directory, &["rev-parse", "HEAD"])
            .await
            .output()?;
        let changes = git::run(&self.directory, &["status", "--porcelain", "--", "."]).await;
        let mark = if changes.output()?.is_empty() {
            ""
        } else {
            "-dirty"
        };
        Some(format!("{commit}{mark}"))
    }
}

/// Reads a file of `env_file`, which must be in the app's directory: its values are
/// signed and readable by others, and an `app.yaml` from elsewhere must not name
/// `~/.ssh/id_ed25519`. Returns `None` if there is no such file.
fn read_beside(directory: &Path, path: &str) -> Result<Option<String>> {
    let plain = |c: Component| matches!(c, Component::Normal(_) | Component::CurDir);
    if path.is_empty() || !Path::new(path).components().all(plain) {
        bail!("{path:?} is not a path below the app's directory");
    }
    let file = directory.join(path);
    if !file.exists() {
        return Ok(None);
    }
    // A link may lead out of the directory.
    let directory = directory.canonicalize().context("finding the directory")?;
    let file = file
        .canonicalize()
        .with_context(|| format!("finding {path}"))?;
    if !file.starts_with(&directory) {
        bail!("{path:?} is a link out of the app's directory");
    }
    file::read_text(&file, MAX_ENV_FILE_BYTES).map(Some)
}

/// Checks an app name, which becomes part of an image tag, a container name and a path on
/// the device.
pub(crate) fn check_name(name: &str) -> Result<()> {
    // edge-docker uses container names with these suffixes during a deployment.
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
