//! Client that reads manifests and small blobs of a repository.

use std::sync::Arc;
use std::time::Duration;

use super::credentials::Credentials;
use super::http::{DEFAULT_TIMEOUT, Http, Request};
use super::layout::Layout;
use crate::error::Error;
use crate::limits::MAX_MANIFEST_BYTES;
use crate::manifest::{Descriptor, IMAGE_TYPES, INDEX_TYPES, Manifest};
use crate::reference::{Digest, ImageRef, Repository};

/// Media types that a request for an image accepts: image manifests and indexes.
const ANY_TYPE: [&str; 4] = [
    IMAGE_TYPES[1],
    IMAGE_TYPES[0],
    INDEX_TYPES[1],
    INDEX_TYPES[0],
];

/// Client of one repository: reads and verifies signatures, and with the feature `push`
/// writes to the repository.
pub struct Registry {
    pub(super) http: Arc<Http>,
    pub(super) repository: Repository,
    pub(super) timeout: Duration,
    #[cfg(feature = "push")]
    pub(super) credentials: Option<Credentials>,
    #[cfg(feature = "push")]
    pub(super) ca_bundle: Vec<Vec<u8>>,
    #[cfg(feature = "push")]
    pub(super) uploads: tokio::sync::OnceCell<oci_distribution::Client>,
}

impl Registry {
    /// Creates a client without sending a request. `ca_bundle` contains PEM certificates
    /// of CAs that are trusted in addition to those of the system.
    ///
    /// # Errors
    /// A certificate in `ca_bundle` is malformed, or TLS cannot be set up.
    pub fn new(
        repository: &Repository,
        credentials: Option<Credentials>,
        ca_bundle: &[Vec<u8>],
    ) -> Result<Self, Error> {
        Self::with_timeout(repository, credentials, ca_bundle, DEFAULT_TIMEOUT)
    }

    /// Creates a client as [`Registry::new`] does, with `timeout` as the limit for each
    /// response.
    ///
    /// # Errors
    /// As [`Registry::new`].
    pub fn with_timeout(
        repository: &Repository,
        credentials: Option<Credentials>,
        ca_bundle: &[Vec<u8>],
        timeout: Duration,
    ) -> Result<Self, Error> {
        let (host, path) = (repository.host(), repository.path());
        Ok(Self {
            #[cfg(feature = "push")]
            credentials: credentials.clone(),
            http: Arc::new(Http::new(host, path, credentials, ca_bundle, timeout)?),
            repository: repository.clone(),
            timeout,
            #[cfg(feature = "push")]
            ca_bundle: ca_bundle.to_vec(),
            #[cfg(feature = "push")]
            uploads: tokio::sync::OnceCell::new(),
        })
    }

    /// Creates a client that reads the content of a bundle and sends nothing.
    ///
    /// # Errors
    /// As [`Registry::new`].
    pub fn of_layout(repository: &Repository, layout: Arc<Layout>) -> Result<Self, Error> {
        let client = Self::new(repository, None, &[])?;
        let http = Http::new(
            repository.host(),
            repository.path(),
            None,
            &[],
            client.timeout,
        )?;
        Ok(Self {
            http: Arc::new(http.with_layout(layout)),
            ..client
        })
    }

    /// Returns the repository that this client reads.
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// Requests the manifest or index of `image`, by its digest if it has one, else by
    /// its tag.
    ///
    /// # Errors
    /// The image does not exist, the registry refuses or does not answer, or the received
    /// bytes have another digest.
    pub async fn resolve(&self, image: &ImageRef) -> Result<Manifest, Error> {
        let reference = match (&image.digest, &image.tag) {
            (Some(digest), _) => digest.as_str(),
            (None, tag) => tag.as_deref().unwrap_or("latest"),
        };
        let name = image.to_string();
        let manifest = self.manifest(reference, &name, &ANY_TYPE).await?;
        match &image.digest {
            Some(digest) if manifest.digest != *digest => Err(other_content(&name)),
            _ => Ok(manifest),
        }
    }

    /// Requests the manifest that `descriptor` names, and checks its digest and size.
    pub(super) async fn referenced(&self, descriptor: &Descriptor) -> Result<Manifest, Error> {
        let name = descriptor.digest.as_str();
        let manifest = self.manifest(name, name, &ANY_TYPE).await?;
        if manifest.digest != descriptor.digest || manifest.bytes.len() as u64 != descriptor.size {
            return Err(other_content(name));
        }
        Ok(manifest)
    }

    /// Requests the manifest with a tag; returns `None` if the tag does not exist.
    pub(super) async fn find_manifest(
        &self,
        tag: &str,
        media_type: &str,
    ) -> Result<Option<Manifest>, Error> {
        match self.manifest(tag, tag, &[media_type]).await {
            Ok(manifest) => Ok(Some(manifest)),
            Err(Error::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn manifest(
        &self,
        reference: &str,
        name: &str,
        media_types: &[&str],
    ) -> Result<Manifest, Error> {
        let path = self.path(&format!("manifests/{reference}"));
        let request = Request {
            accept: media_types,
            ..Request::get(path, name, MAX_MANIFEST_BYTES)
        };
        // The digest is computed from the received bytes. The header
        // `Docker-Content-Digest` is only a statement of the registry.
        let response = self.http.send(&request).await?;
        Ok(Manifest::new(response.body))
    }

    /// Downloads a blob of at most `limit` bytes and checks its digest.
    pub(super) async fn blob(&self, descriptor: &Descriptor, limit: u64) -> Result<Vec<u8>, Error> {
        let name = descriptor.digest.as_str();
        let size = usize::try_from(descriptor.size).unwrap_or(usize::MAX);
        if descriptor.size > limit {
            return Err(Error::Malformed(format!("a signature of {size} bytes")));
        }
        let request = Request {
            any_host: true,
            ..Request::get(self.path(&format!("blobs/{name}")), name, size)
        };
        let bytes = self.http.send(&request).await?.body;
        if Digest::of(&bytes) != descriptor.digest {
            return Err(other_content(name));
        }
        Ok(bytes)
    }

    pub(super) fn path(&self, rest: &str) -> String {
        format!("/v2/{}/{rest}", self.repository.path())
    }
}

fn other_content(name: &str) -> Error {
    Error::Malformed(format!("{name}: the registry sent other content"))
}
