//! Writing to one repository of a registry.

use std::time::Duration;

use oci_distribution::client::{Certificate, CertificateEncoding, ClientConfig, ClientProtocol};
use oci_distribution::errors::OciDistributionError;
use oci_distribution::secrets::RegistryAuth;
use oci_distribution::{Client, Reference, RegistryOperation};
use reqwest::Method;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use crate::bundle::{BUNDLE, PREDICATE};
use crate::error::causes;
use crate::http::{Action, Ask};
use crate::manifest::{IMAGE_TYPES, INDEX_TYPES, LARGEST_MANIFEST};
use crate::registry::{SIGNATURE, SIMPLE_SIGNING, fallback_tag, signature_tag};
use crate::{Digest, Error, Format, ImageRef, Keys, Manifest, Registry, Signed};

const OCI_MANIFEST: &str = IMAGE_TYPES[1];
const OCI_INDEX: &str = INDEX_TYPES[1];
const EMPTY: &str = "application/vnd.oci.empty.v1+json";
/// How often an entry is added that somebody else's addition overwrote.
const TRIES: usize = 5;

impl Registry {
    /// What is to be signed of `image`: its manifest, and where that is an index,
    /// that of every image in it. The first one is what the name means.
    ///
    /// # Errors
    /// As [`Registry::resolve`].
    pub async fn family(&self, image: &ImageRef) -> Result<Vec<Manifest>, Error> {
        let top = self.resolve(image).await?;
        let children = top.children()?;
        let mut family = vec![top];
        for child in children {
            let name = ImageRef {
                digest: Some(child.digest),
                ..image.clone()
            };
            family.push(self.resolve(&name).await?);
        }
        Ok(family)
    }

    /// Adds a signature, in its own form, beside those that are there. `keys`
    /// holds the key that made it.
    ///
    /// # Errors
    /// Unreachable, not allowed, or a signature by another key.
    pub async fn attach(
        &self,
        keys: &Keys,
        manifest: &Manifest,
        signed: &Signed,
    ) -> Result<(), Error> {
        match signed.format() {
            Format::V2 => self.append_signature(&manifest.digest, signed).await,
            Format::V3 => self.push_bundle(keys, manifest, signed).await,
        }
    }

    /// Adds a v2 signature beside those that are there.
    ///
    /// # Errors
    /// Unreachable or not allowed.
    pub async fn append_signature(&self, digest: &Digest, signed: &Signed) -> Result<(), Error> {
        let payload = self.push_blob(signed.payload().to_vec()).await?;
        let config = self.push_blob(b"{}".to_vec()).await?;
        let empty = json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST,
            "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "size": 2, "digest": config },
            "layers": [],
        });
        let layer = json!({
            "mediaType": SIMPLE_SIGNING, "size": signed.payload().len(), "digest": payload,
            "annotations": { SIGNATURE: signed.text() },
        });
        let list = List {
            tag: signature_tag(digest),
            kind: OCI_MANIFEST,
            key: "layers",
            empty,
        };
        self.add(&list, layer).await
    }

    /// Puts a bundle there by digest, and into the list of what refers to the
    /// image where the registry keeps none.
    async fn push_bundle(
        &self,
        keys: &Keys,
        subject: &Manifest,
        signed: &Signed,
    ) -> Result<(), Error> {
        let bundle = signed.to_bundle(keys)?;
        let size = bundle.len();
        let layer = self.push_blob(bundle).await?;
        let config = self.push_blob(b"{}".to_vec()).await?;
        let annotations = json!({
            "dev.sigstore.bundle.content": "dsse-envelope",
            "dev.sigstore.bundle.predicateType": PREDICATE,
        });
        let manifest = json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST, "artifactType": BUNDLE,
            "config": { "mediaType": EMPTY, "size": 2, "digest": config },
            "layers": [{ "mediaType": BUNDLE, "size": size, "digest": layer }],
            "subject": {
                "mediaType": subject.media_type()?, "size": subject.bytes.len(),
                "digest": subject.digest,
            },
            "annotations": annotations,
        });
        let bytes = manifest.to_string().into_bytes();
        let (size, digest) = (bytes.len(), Digest::of(&bytes));
        let headers = self.put(digest.as_str(), &bytes, OCI_MANIFEST).await?;
        if headers.contains_key("oci-subject") {
            return Ok(());
        }
        let entry = json!({
            "mediaType": OCI_MANIFEST, "artifactType": BUNDLE, "size": size, "digest": digest,
            "annotations": annotations,
        });
        let list = List {
            tag: fallback_tag(&subject.digest),
            kind: OCI_INDEX,
            key: "manifests",
            empty: json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [] }),
        };
        self.add(&list, entry).await
    }

    /// Adds an entry to a list under a tag. Registries cannot do that at once:
    /// it is read again, and added again if somebody else wrote in between.
    async fn add(&self, list: &List, entry: Value) -> Result<(), Error> {
        for _ in 0..TRIES {
            let old = self.optional(&list.tag, list.kind).await?;
            let mut document = old.map_or(Ok(list.empty.clone()), |m| list.parse(&m))?;
            let entries = list.entries(&mut document)?;
            if entries.contains(&entry) {
                return Ok(());
            }
            entries.push(entry.clone());
            self.put(&list.tag, document.to_string().as_bytes(), list.kind)
                .await?;
        }
        let tag = &list.tag;
        Err(Error::CannotTell(format!("{tag}: others keep writing it")))
    }

    /// Puts a manifest under a tag.
    ///
    /// # Errors
    /// Unreachable or not allowed.
    pub async fn push_manifest(
        &self,
        tag: &str,
        bytes: Vec<u8>,
        kind: &str,
    ) -> Result<Digest, Error> {
        self.put(tag, &bytes, kind).await?;
        Ok(Digest::of(&bytes))
    }

    async fn put(&self, name: &str, bytes: &[u8], kind: &str) -> Result<HeaderMap, Error> {
        let path = format!("manifests/{name}");
        let ask = Ask {
            method: Method::PUT,
            body: Some((kind, bytes)),
            action: Action::Push,
            ..Ask::get(self.path(&path), name, LARGEST_MANIFEST)
        };
        self.http.ask(&ask).await.map(|answer| answer.headers)
    }

    /// Puts a blob there unless it is there already.
    ///
    /// # Errors
    /// Unreachable or not allowed.
    pub async fn push_blob(&self, bytes: Vec<u8>) -> Result<Digest, Error> {
        let client = self.uploads().await?;
        let digest = Digest::of(&bytes);
        let image = self.any();
        let there = client.blob_exists(&image, digest.as_str()).await;
        if !there.map_err(|e| failed(digest.as_str(), e))? {
            let pushed = client.push_blob(&image, bytes, digest.as_str()).await;
            pushed.map_err(|e| failed(digest.as_str(), e))?;
        }
        Ok(digest)
    }

    /// A client that has logged in once, for uploads.
    pub(crate) async fn uploads(&self) -> Result<&Client, Error> {
        let client = || self.client(RegistryOperation::Push);
        self.uploads.get_or_try_init(client).await
    }

    /// A client that has logged in.
    pub(crate) async fn client(&self, operation: RegistryOperation) -> Result<Client, Error> {
        let certificate = |pem: &Vec<u8>| Certificate {
            encoding: CertificateEncoding::Pem,
            data: pem.clone(),
        };
        let config = ClientConfig {
            protocol: ClientProtocol::Https,
            extra_root_certificates: self.ca_bundle.iter().map(certificate).collect(),
            connect_timeout: Some(Duration::from_secs(10)),
            read_timeout: Some(Duration::from_secs(30)),
            user_agent: concat!("edge-ai/", env!("CARGO_PKG_VERSION")),
            ..ClientConfig::default()
        };
        let client = Client::try_from(config)
            .map_err(|e| Error::Malformed(format!("preparing TLS: {e}")))?;
        let auth = match &self.credentials {
            Some(c) => RegistryAuth::Basic(c.username.clone(), c.password.clone()),
            None => RegistryAuth::Anonymous,
        };
        let answer = client.auth(&self.any(), &auth, operation).await;
        answer.map_err(|e| failed(self.repository.host(), e))?;
        Ok(client)
    }

    pub(crate) fn any(&self) -> Reference {
        let (host, path) = (self.repository.host(), self.repository.path());
        Reference::with_tag(host.into(), path.into(), "any".into())
    }
}

/// A list that lies under a tag, as a manifest or an index.
struct List {
    tag: String,
    kind: &'static str,
    key: &'static str,
    empty: Value,
}

impl List {
    fn parse(&self, manifest: &Manifest) -> Result<Value, Error> {
        serde_json::from_slice(&manifest.bytes).map_err(|_| self.bad())
    }

    fn entries<'a>(&self, document: &'a mut Value) -> Result<&'a mut Vec<Value>, Error> {
        let entries = document.get_mut(self.key).and_then(Value::as_array_mut);
        entries.ok_or_else(|| self.bad())
    }

    fn bad(&self) -> Error {
        Error::Malformed(format!("{}: not a list of signatures", self.tag))
    }
}

/// From the upload client's words.
pub fn failed(what: &str, error: OciDistributionError) -> Error {
    use OciDistributionError as Oci;
    let status = match &error {
        Oci::ServerError { code, .. } => Some(*code),
        Oci::RequestError(e) => e.status().map(|s| s.as_u16()),
        _ => None,
    };
    match (status, &error) {
        (Some(401 | 403), _) => Error::Unauthorized(what.into()),
        (_, Oci::UnauthorizedError { .. } | Oci::AuthenticationFailure(_)) => {
            Error::Unauthorized(what.into())
        }
        (Some(404), _) => Error::NotFound(what.into()),
        _ => Error::CannotTell(format!("{what}: {}", causes(&error))),
    }
}
