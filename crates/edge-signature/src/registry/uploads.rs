//! Uploads of blobs with oci-client: from memory, in chunks, or from another registry.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use oci_distribution::client::{Certificate, CertificateEncoding, ClientConfig, ClientProtocol};
use oci_distribution::errors::OciDistributionError;
use oci_distribution::manifest::OciDescriptor;
use oci_distribution::secrets::RegistryAuth;
use oci_distribution::{Client, Reference, RegistryOperation};
use tokio::sync::mpsc::Receiver;

use super::client::Registry;
use super::http::Request;
use super::token::Access;
use crate::error::{Error, causes};
use crate::limits::MAX_MANIFEST_BYTES;
use crate::manifest::Descriptor;
use crate::reference::Digest;

impl Registry {
    /// Returns whether the repository contains the blob `digest`.
    ///
    /// # Errors
    /// The registry refuses or does not answer.
    pub async fn has_blob(&self, digest: &Digest) -> Result<bool, Error> {
        let client = self.upload_client().await?;
        let exists = client
            .blob_exists(&self.placeholder(), digest.as_str())
            .await;
        exists.map_err(|e| upload_error(digest.as_str(), e))
    }

    /// Pushes a blob unless the repository has it; returns the digest of the blob.
    ///
    /// # Errors
    /// The registry refuses or does not answer.
    pub async fn push_blob(&self, bytes: Vec<u8>) -> Result<Digest, Error> {
        let digest = Digest::of(&bytes);
        if !self.has_blob(&digest).await? {
            let client = self.upload_client().await?;
            let pushed = client
                .push_blob(&self.placeholder(), bytes, digest.as_str())
                .await;
            pushed.map_err(|e| upload_error(digest.as_str(), e))?;
        }
        Ok(digest)
    }

    /// Pushes a blob of `size` bytes that arrives in chunks. The registry compares the
    /// content with the digest.
    ///
    /// # Errors
    /// The registry refuses or does not answer, or the content has another digest.
    pub async fn push_chunks(
        &self,
        digest: &Digest,
        size: u64,
        chunks: Receiver<Vec<u8>>,
    ) -> Result<(), Error> {
        let chunks = stream::unfold(chunks, |mut chunks| async {
            let chunk = chunks.recv().await?;
            Some((Ok(Bytes::from(chunk)), chunks))
        });
        self.push_stream(digest, size, chunks).await
    }

    /// Copies a blob from the repository `from` to this one, chunk by chunk, unless it
    /// exists there. `progress` is called with the number of bytes of each chunk. Returns
    /// whether the blob was copied.
    ///
    /// # Errors
    /// One of the registries refuses or does not answer, or the content has another
    /// digest.
    pub async fn copy_blob(
        &self,
        from: &Self,
        blob: &Descriptor,
        progress: impl Fn(u64) + Send + 'static,
    ) -> Result<bool, Error> {
        if self.has_blob(&blob.digest).await? {
            return Ok(false);
        }
        let name = blob.digest.as_str();
        let descriptor = OciDescriptor {
            digest: name.into(),
            size: i64::try_from(blob.size).unwrap_or(i64::MAX),
            media_type: blob.media_type.clone(),
            ..OciDescriptor::default()
        };
        let client = from.connect(RegistryOperation::Pull).await?;
        let download = client
            .pull_blob_stream(&from.placeholder(), &descriptor)
            .await;
        let chunks = download
            .map_err(|e| upload_error(name, e))?
            .stream
            .map(move |chunk| {
                let chunk = chunk.map_err(OciDistributionError::from)?;
                progress(chunk.len() as u64);
                Ok(chunk)
            });
        self.push_stream(&blob.digest, blob.size, chunks).await?;
        Ok(true)
    }

    async fn push_stream(
        &self,
        digest: &Digest,
        size: u64,
        chunks: impl Stream<Item = Result<Bytes, OciDistributionError>> + Send + 'static,
    ) -> Result<(), Error> {
        let client = self.upload_client().await?;
        let pushed = client
            .push_blob_stream(&self.placeholder(), chunks, digest.as_str(), Some(size))
            .await;
        pushed
            .map(|_| ())
            .map_err(|e| upload_error(digest.as_str(), e))
    }

    /// Requests a bearer token for uploads; `None` if the registry demands none.
    async fn push_token(&self) -> Result<Option<String>, Error> {
        let host = self.repository.host();
        let request = Request {
            access: Access::Push,
            ..Request::get(self.path("tags/list?n=1"), host, MAX_MANIFEST_BYTES)
        };
        match self.http.send(&request).await {
            Ok(_) | Err(Error::NotFound(_)) => Ok(self.http.token()),
            Err(error) => Err(error),
        }
    }

    /// Returns the client for uploads, which the first call creates and logs in.
    async fn upload_client(&self) -> Result<&Client, Error> {
        let connect = || self.connect(RegistryOperation::Push);
        self.uploads.get_or_try_init(connect).await
    }

    async fn connect(&self, operation: RegistryOperation) -> Result<Client, Error> {
        let certificate = |pem: &Vec<u8>| Certificate {
            encoding: CertificateEncoding::Pem,
            data: pem.clone(),
        };
        // Neither time limit is set by default. The limit on reading applies to each
        // read, since the transfer of a large layer may take any time.
        let config = ClientConfig {
            protocol: ClientProtocol::Https,
            extra_root_certificates: self.ca_bundle.iter().map(certificate).collect(),
            connect_timeout: Some(Duration::from_secs(10)),
            read_timeout: Some(Duration::from_secs(30)),
            user_agent: concat!("edge-ai/", env!("CARGO_PKG_VERSION")),
            ..ClientConfig::default()
        };
        // `Client::new` would silently fall back to a default client without these
        // certificates.
        let client = Client::try_from(config)
            .map_err(|e| Error::Malformed(format!("preparing TLS: {e}")))?;
        let auth = match &self.credentials {
            // oci-client does not exchange identity tokens.
            Some(c) if c.is_identity_token() => match self.push_token().await? {
                Some(token) => RegistryAuth::Bearer(token),
                None => RegistryAuth::Anonymous,
            },
            Some(c) => RegistryAuth::Basic(c.username.clone(), c.password.clone()),
            None => RegistryAuth::Anonymous,
        };
        let authorized = client.auth(&self.placeholder(), &auth, operation).await;
        authorized.map_err(|e| upload_error(self.repository.host(), e))?;
        Ok(client)
    }

    /// Returns the repository as oci-client's `Reference`, which requires a tag; requests
    /// for blobs do not use the tag.
    fn placeholder(&self) -> Reference {
        let (host, path) = (self.repository.host(), self.repository.path());
        Reference::with_tag(host.into(), path.into(), "any".into())
    }
}

fn upload_error(name: &str, error: OciDistributionError) -> Error {
    use OciDistributionError as Oci;
    let status = match &error {
        Oci::ServerError { code, .. } => Some(*code),
        Oci::RequestError(e) => e.status().map(|s| s.as_u16()),
        _ => None,
    };
    match (status, &error) {
        (Some(401 | 403), _) => Error::Unauthorized(name.into()),
        (_, Oci::UnauthorizedError { .. } | Oci::AuthenticationFailure(_)) => {
            Error::Unauthorized(name.into())
        }
        (Some(404), _) => Error::NotFound(name.into()),
        _ => Error::Unverifiable(format!("{name}: {}", causes(&error))),
    }
}
