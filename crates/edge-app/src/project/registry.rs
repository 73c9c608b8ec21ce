//! Registry of a project: the repository of its images, and the credentials for it.

use anyhow::Result;
use edge_common::exit::Failure;
use edge_common::file;
use edge_signature::{Credentials, Digest, ImageRef, Registry, Repository};

use crate::cloud::{ecr, ssm};
use crate::exit_code::{CONFIGURATION, registry_error};
use crate::project::config::{FILE_NAME, MAX_FILE_BYTES, Project, RepositoryName, SsmParameter};
use crate::project::docker_login;

/// Size limit in bytes of the file that `credentials.password_file` names.
const MAX_PASSWORD_BYTES: u64 = 64 * 1024;

impl Project {
    /// Returns the repository of the project's images, from `edge-app.yaml` or from the
    /// SSM parameter that it names.
    pub(crate) async fn repository(&self) -> Result<Repository> {
        let text = match &self.config.registry {
            RepositoryName::Text(text) => text.clone(),
            RepositoryName::Parameter(SsmParameter { ssm }) => ssm::parameter(ssm).await?,
        };
        text.trim()
            .parse()
            .map_err(|e| Failure::error(CONFIGURATION, format_args!("{FILE_NAME}: registry: {e}")))
    }

    /// Returns the image reference of a version of an app, with the tag `APP-VERSION`.
    /// The tag includes the app because devices trust a single repository, which holds
    /// all apps.
    pub(crate) async fn image(&self, app: &str, version: &str) -> Result<ImageRef> {
        Ok(ImageRef {
            repository: self.repository().await?,
            tag: Some(format!("{app}-{version}")),
            digest: None::<Digest>,
        })
    }

    /// Returns credentials for `repository`: from the project's password file, from ECR,
    /// or from docker's login, in this order. `None` stands for anonymous access.
    pub(crate) async fn credentials(&self, repository: &Repository) -> Result<Option<Credentials>> {
        if let Some(login) = &self.config.credentials {
            let password = file::read_text(&self.path(&login.password_file), MAX_PASSWORD_BYTES)
                .map_err(|e| Failure::wrap(CONFIGURATION, e))?;
            return Ok(Some(Credentials {
                username: login.username.clone(),
                password: password.trim_end().into(),
            }));
        }
        if ecr::is_registry(repository.host()) {
            return ecr::token().await.map(Some);
        }
        docker_login::find(repository.host()).await
    }

    /// Returns a client for the project's repository, which logs in with its credentials.
    pub(crate) async fn registry(&self) -> Result<Registry> {
        let repository = self.repository().await?;
        let credentials = self.credentials(&repository).await?;
        self.open(&repository, credentials)
    }

    /// Returns a client for any other repository, from which `push --from` copies images.
    pub(crate) async fn foreign(&self, repository: &Repository) -> Result<Registry> {
        let host = repository.host();
        // The project's password is sent only to the host of the project's registry,
        // since another host could misuse it.
        let credentials = if host == self.repository().await?.host() {
            self.credentials(repository).await?
        } else if ecr::is_registry(host) {
            Some(ecr::token().await?)
        } else {
            docker_login::find(host).await?
        };
        self.open(repository, credentials)
    }

    fn open(&self, repository: &Repository, credentials: Option<Credentials>) -> Result<Registry> {
        let ca_bundle = match &self.config.ca {
            Some(path) => vec![
                file::read(&self.path(path), MAX_FILE_BYTES)
                    .map_err(|e| Failure::wrap(CONFIGURATION, e))?,
            ],
            None => Vec::new(),
        };
        Registry::new(repository, credentials, &ca_bundle).map_err(registry_error)
    }
}
