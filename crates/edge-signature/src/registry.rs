//! Talking to one repository of a registry.

use std::time::Duration;

use oci_distribution::client::{Certificate, CertificateEncoding, ClientConfig, ClientProtocol};
use oci_distribution::manifest::OciDescriptor;
use oci_distribution::secrets::RegistryAuth;
use oci_distribution::{Client, Reference, RegistryOperation};
use serde_json::{Value, json};

use crate::manifest::{Descriptor, IMAGE_TYPES};
use crate::verify::{LARGEST_PAYLOAD, Signed};
use crate::{Digest, Error, ImageRef, Manifest, Repository};

/// Largest manifest that is taken, in bytes.
const LARGEST_MANIFEST: usize = 4 * 1024 * 1024;
/// Most signatures of one image that are read.
const MOST_SIGNATURES: usize = 64;
const OCI_MANIFEST: &str = IMAGE_TYPES[1];
const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";

/// A user name and a password.
#[derive(Clone)]
pub struct Credentials {
    /// User name.
    pub username: String,
    /// Password or token. Secret.
    pub password: String,
}

/// A repository of a registry.
pub struct Registry {
    client: Client,
    repository: Repository,
    auth: RegistryAuth,
}

impl Registry {
    /// Prepares; nothing is sent. `authorities` are PEM certificates beside the
    /// system's.
    ///
    /// # Errors
    /// Certificates that cannot be used.
    pub fn new(
        repository: &Repository,
        credentials: Option<Credentials>,
        authorities: &[Vec<u8>],
    ) -> Result<Self, Error> {
        let certificate = |pem: &Vec<u8>| Certificate {
            encoding: CertificateEncoding::Pem,
            data: pem.clone(),
        };
        let config = ClientConfig {
            protocol: ClientProtocol::Https,
            extra_root_certificates: authorities.iter().map(certificate).collect(),
            connect_timeout: Some(Duration::from_secs(10)),
            read_timeout: Some(Duration::from_secs(30)),
            user_agent: concat!("edge-ai/", env!("CARGO_PKG_VERSION")),
            ..ClientConfig::default()
        };
        let client = Client::try_from(config)
            .map_err(|e| Error::Malformed(format!("preparing TLS: {e}")))?;
        let auth = credentials.map_or(RegistryAuth::Anonymous, |c| {
            RegistryAuth::Basic(c.username, c.password)
        });
        Ok(Self {
            client,
            repository: repository.clone(),
            auth,
        })
    }

    /// The repository.
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    fn tagged(&self, tag: &str) -> Reference {
        Reference::with_tag(
            self.repository.host().into(),
            self.repository.path().into(),
            tag.into(),
        )
    }

    fn by_digest(&self, digest: &Digest) -> Reference {
        Reference::with_digest(
            self.repository.host().into(),
            self.repository.path().into(),
            digest.to_string(),
        )
    }

    async fn authenticate(&self, operation: RegistryOperation) -> Result<(), Error> {
        let image = self.tagged("any");
        let answer = self.client.auth(&image, &self.auth, operation).await;
        answer
            .map(|_| ())
            .map_err(|e| Error::from_registry(self.repository.host(), e))
    }

    /// The manifest of `image`: by digest when it names one.
    ///
    /// # Errors
    /// Not found, not allowed, unreachable, or bytes that are not the digest's.
    pub async fn resolve(&self, image: &ImageRef) -> Result<Manifest, Error> {
        let reference = match (&image.digest, &image.tag) {
            (Some(digest), _) => self.by_digest(digest),
            (None, tag) => self.tagged(tag.as_deref().unwrap_or("latest")),
        };
        let manifest = self
            .manifest(&reference, &image.to_string(), &IMAGE_TYPES)
            .await?;
        match &image.digest {
            Some(digest) if manifest.digest != *digest => Err(Error::Malformed(format!(
                "{image}: the registry sent other content"
            ))),
            _ => Ok(manifest),
        }
    }

    async fn manifest(
        &self,
        reference: &Reference,
        what: &str,
        kinds: &[&str],
    ) -> Result<Manifest, Error> {
        self.authenticate(RegistryOperation::Pull).await?;
        let answer = self
            .client
            .pull_manifest_raw(reference, &self.auth, kinds)
            .await;
        let (bytes, _) = answer.map_err(|e| Error::from_registry(what, e))?;
        if bytes.len() > LARGEST_MANIFEST {
            return Err(Error::Malformed(format!(
                "{what}: manifest of {} bytes",
                bytes.len()
            )));
        }
        Ok(Manifest::new(bytes.to_vec()))
    }

    /// All signatures of the image `digest` under cosign's `.sig` tag; none when
    /// there is no such tag.
    ///
    /// # Errors
    /// Unreachable, not allowed, or a manifest that makes no sense.
    pub async fn signatures(&self, digest: &Digest) -> Result<Vec<Signed>, Error> {
        let Some(manifest) = self.signature_manifest(digest).await? else {
            return Ok(Vec::new());
        };
        let mut signed = Vec::new();
        for layer in manifest.layers()?.iter().take(MOST_SIGNATURES) {
            let Some(text) = layer
                .annotations
                .get(SIGNATURE)
                .filter(|_| layer.media_type == SIMPLE_SIGNING)
            else {
                continue;
            };
            let payload = self.payload(layer).await?;
            signed.extend(Signed::from_text(payload, text));
        }
        Ok(signed)
    }

    async fn signature_manifest(&self, digest: &Digest) -> Result<Option<Manifest>, Error> {
        let tag = signature_tag(digest);
        match self
            .manifest(&self.tagged(&tag), &tag, &[OCI_MANIFEST])
            .await
        {
            Ok(manifest) => Ok(Some(manifest)),
            Err(Error::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn payload(&self, layer: &Descriptor) -> Result<Vec<u8>, Error> {
        if layer.size > LARGEST_PAYLOAD as u64 {
            return Err(Error::Malformed(format!(
                "a signature payload of {} bytes",
                layer.size
            )));
        }
        let descriptor = OciDescriptor {
            digest: layer.digest.to_string(),
            size: i64::try_from(layer.size).unwrap_or(i64::MAX),
            media_type: layer.media_type.clone(),
            ..OciDescriptor::default()
        };
        let mut payload = Vec::new();
        let pulled = self
            .client
            .pull_blob(&self.tagged("any"), &descriptor, &mut payload)
            .await;
        pulled.map_err(|e| Error::from_registry(layer.digest.as_str(), e))?;
        if Digest::of(&payload) != layer.digest {
            return Err(Error::Malformed(format!(
                "{}: the registry sent other content",
                layer.digest
            )));
        }
        Ok(payload)
    }

    /// Adds a signature beside those that are there.
    ///
    /// # Errors
    /// Unreachable or not allowed.
    pub async fn append_signature(&self, digest: &Digest, signed: &Signed) -> Result<(), Error> {
        let mut layers = match self.signature_manifest(digest).await? {
            Some(old) => {
                let old: Value = serde_json::from_slice(&old.bytes)
                    .map_err(|e| Error::Malformed(format!("{}: {e}", signature_tag(digest))))?;
                old["layers"].as_array().cloned().unwrap_or_default()
            }
            None => Vec::new(),
        };
        let payload = self.push_blob(signed.payload.clone()).await?;
        let config = self.push_blob(b"{}".to_vec()).await?;
        layers.push(json!({
            "mediaType": SIMPLE_SIGNING,
            "size": signed.payload.len(),
            "digest": payload.as_str(),
            "annotations": { SIGNATURE: signed.text() },
        }));
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "size": 2, "digest": config.as_str() },
            "layers": layers,
        });
        let bytes = manifest.to_string().into_bytes();
        self.push_manifest(&signature_tag(digest), bytes, OCI_MANIFEST)
            .await
            .map(|_| ())
    }

    /// Puts a blob there unless it is there already.
    ///
    /// # Errors
    /// Unreachable or not allowed.
    pub async fn push_blob(&self, bytes: Vec<u8>) -> Result<Digest, Error> {
        self.authenticate(RegistryOperation::Push).await?;
        let digest = Digest::of(&bytes);
        let image = self.tagged("any");
        let context = |e| Error::from_registry(digest.as_str(), e);
        if !self
            .client
            .blob_exists(&image, digest.as_str())
            .await
            .map_err(context)?
        {
            self.client
                .push_blob(&image, bytes, digest.as_str())
                .await
                .map_err(context)?;
        }
        Ok(digest)
    }

    /// Puts a manifest under a tag.
    ///
    /// # Errors
    /// Unreachable or not allowed.
    pub async fn push_manifest(
        &self,
        tag: &str,
        bytes: Vec<u8>,
        kind: &'static str,
    ) -> Result<Digest, Error> {
        self.authenticate(RegistryOperation::Push).await?;
        let digest = Digest::of(&bytes);
        let kind = kind
            .parse()
            .map_err(|_| Error::Malformed(format!("{kind} is not a media type")))?;
        let pushed = self
            .client
            .push_manifest_raw(&self.tagged(tag), bytes, kind)
            .await;
        pushed.map_err(|e| Error::from_registry(tag, e))?;
        Ok(digest)
    }

    /// Names in the repository.
    ///
    /// # Errors
    /// Unreachable or not allowed.
    pub async fn tags(&self) -> Result<Vec<String>, Error> {
        self.authenticate(RegistryOperation::Pull).await?;
        let answer = self
            .client
            .list_tags(&self.tagged("any"), &self.auth, None, None)
            .await;
        match answer.map_err(|e| Error::from_registry(&self.repository.to_string(), e)) {
            Ok(answer) => Ok(answer.tags),
            Err(Error::NotFound(_)) => Ok(Vec::new()),
            Err(error) => Err(error),
        }
    }
}

/// Cosign's tag for the signatures of `digest`.
fn signature_tag(digest: &Digest) -> String {
    format!("sha256-{}.sig", digest.hex())
}
