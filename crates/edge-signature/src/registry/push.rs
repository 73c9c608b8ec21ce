//! Push of manifests and signatures to a repository.

use std::time::Duration;

use reqwest::Method;
use reqwest::header::HeaderMap;
use serde_json::{Value, json};

use super::client::Registry;
use super::http::Request;
use super::layout::{Layout, fallback_tag};
use super::response::unreachable;
use super::signatures::{SIGNATURE, SIMPLE_SIGNING, signature_tag};
use super::token::Access;
use crate::bundle::{BUNDLE, PREDICATE};
use crate::error::Error;
use crate::keys::Keys;
use crate::limits::MAX_MANIFEST_BYTES;
use crate::manifest::{Descriptor, IMAGE_TYPES, INDEX_TYPES, Manifest};
use crate::reference::{Digest, ImageRef};
use crate::set::SetKeys;
use crate::signed::{Format, Signed};

pub(super) const OCI_MANIFEST: &str = IMAGE_TYPES[1];
const OCI_INDEX: &str = INDEX_TYPES[1];
pub(super) const EMPTY: &str = "application/vnd.oci.empty.v1+json";
/// Maximum number of attempts to add an entry to a list that other signers overwrite at
/// the same time.
const MAX_ATTEMPTS: usize = 5;
/// Time limit for the download of a layer.
const LAYER_TIMEOUT: Duration = Duration::from_secs(6 * 3600);

impl Registry {
    /// Requests the manifest of `image`. If it is an index, the manifests of its images
    /// follow, but no attestations.
    ///
    /// # Errors
    /// As [`Registry::resolve`].
    pub async fn resolve_all(&self, image: &ImageRef) -> Result<Vec<Manifest>, Error> {
        let top = self.resolve(image).await?;
        let children = top.children()?;
        self.resolve_entries(image, top, children).await
    }

    /// Requests manifests as [`Registry::resolve_all`] does, and the attestations of an
    /// index: registries reject an index whose manifests are absent, so a copy needs them.
    ///
    /// # Errors
    /// As [`Registry::resolve`].
    pub async fn resolve_complete(&self, image: &ImageRef) -> Result<Vec<Manifest>, Error> {
        let top = self.resolve(image).await?;
        let mut children = top.children()?;
        children.extend(top.attestations()?);
        self.resolve_entries(image, top, children).await
    }

    /// Reads a release set and, for each of its apps, what a device requests: manifests,
    /// signatures and run specifications, of the images for `architecture`. Returns them, and
    /// the manifests of the images, in the order of the apps.
    ///
    /// # Errors
    /// As [`Registry::set`], or an image, its run specification or one for `architecture` is
    /// absent.
    pub async fn bundle(
        &self,
        trusted: &SetKeys,
        digest: &Digest,
        architecture: &str,
    ) -> Result<(Layout, Vec<Manifest>), Error> {
        self.http.record(Some(Layout::default()));
        let images = self.read_set(trusted, digest, architecture).await;
        let recorded = self.http.record(None).unwrap_or_default();
        let (tag, images) = images?;
        Ok((recorded.finish(digest, &tag)?, images))
    }

    async fn read_set(
        &self,
        trusted: &SetKeys,
        digest: &Digest,
        architecture: &str,
    ) -> Result<(String, Vec<Manifest>), Error> {
        let (verified, _) = self.set(trusted, digest).await?;
        // The devices may need more signatures than this key's.
        self.signatures(digest).await?;
        let mut images = Vec::new();
        for app in &verified.set.apps {
            let image = ImageRef {
                repository: self.repository.clone(),
                tag: None,
                digest: Some(app.digest.clone()),
            };
            // Of both formats, also where one would do here: the devices' keys may differ.
            self.signatures(&app.digest).await?;
            let manifest = self.resolve_for(&image, architecture).await?;
            if manifest.digest != app.digest {
                self.signatures(&manifest.digest).await?;
            }
            if let Some(config) = manifest.blobs()?.first() {
                self.blob(config, MAX_MANIFEST_BYTES as u64).await?;
            }
            self.run_spec(&app.run).await?;
            images.push(manifest);
        }
        Ok((verified.set.tag(), images))
    }

    /// Requests the manifest of `image` or, if it is an index, of its image for Linux on
    /// `architecture`.
    ///
    /// # Errors
    /// As [`Registry::resolve`], or the index has no such image.
    pub async fn resolve_for(
        &self,
        image: &ImageRef,
        architecture: &str,
    ) -> Result<Manifest, Error> {
        let manifest = self.resolve(image).await?;
        if !manifest.is_index()? {
            return Ok(manifest);
        }
        let children = manifest.children()?;
        let child = children.iter().find(|child| child.is_for(architecture));
        let absent = || Error::NotFound(format!("{image}: an image for {architecture}"));
        self.referenced(child.ok_or_else(absent)?).await
    }

    /// Downloads a blob, for example a layer, in pieces into `write`, and checks size and
    /// digest.
    ///
    /// # Errors
    /// The registry has no such blob, does not answer or sends another content, or `write`
    /// fails.
    pub async fn download(
        &self,
        descriptor: &Descriptor,
        mut write: impl FnMut(&[u8]) -> std::io::Result<()>,
    ) -> Result<(), Error> {
        let name = descriptor.digest.as_str();
        let other = || Error::Malformed(format!("{name}: the registry sent other content"));
        let request = Request {
            any_host: true,
            // The client's limit is for manifests: a layer may take hours on a slow link.
            timeout: Some(LAYER_TIMEOUT),
            ..Request::get(self.path(&format!("blobs/{name}")), name, 0)
        };
        let mut response = self.http.respond(&request).await?;
        let (mut hash, mut size) = (openssl::sha::Sha256::new(), 0);
        while let Some(piece) = response.chunk().await.map_err(|e| unreachable(name, e))? {
            size += piece.len() as u64;
            if size > descriptor.size {
                return Err(other());
            }
            hash.update(&piece);
            let written = write(&piece);
            written.map_err(|e| Error::Unverifiable(format!("{name}: writing it: {e}")))?;
        }
        let hex = edge_common::hex::encode(hash.finish());
        match size == descriptor.size && descriptor.digest.hex() == hex {
            true => Ok(()),
            false => Err(other()),
        }
    }

    async fn resolve_entries(
        &self,
        image: &ImageRef,
        top: Manifest,
        children: Vec<Descriptor>,
    ) -> Result<Vec<Manifest>, Error> {
        let mut manifests = vec![top];
        for child in children {
            let child = ImageRef {
                digest: Some(child.digest),
                ..image.clone()
            };
            manifests.push(self.resolve(&child).await?);
        }
        Ok(manifests)
    }

    /// Downloads the configuration of the image `manifest`, as the registry has it.
    ///
    /// # Errors
    /// The manifest is an index, the configuration is larger than a manifest may be, has
    /// another digest, or the registry refuses or does not answer.
    pub async fn image_config(&self, manifest: &Manifest) -> Result<Vec<u8>, Error> {
        let digest = manifest.config()?;
        let name = format!("configuration {digest}");
        let path = self.path(&format!("blobs/{digest}"));
        let request = Request {
            any_host: true,
            ..Request::get(path, &name, MAX_MANIFEST_BYTES)
        };
        let bytes = self.http.send(&request).await?.body;
        if Digest::of(&bytes) != digest {
            let why = format!("{name}: the registry sent other content");
            return Err(Error::Malformed(why));
        }
        Ok(bytes)
    }

    /// Adds the signature `signed` of `manifest`, which one of `keys` must verify, to the
    /// signatures in the registry.
    ///
    /// # Errors
    /// The signature is by another key, or the registry refuses or does not answer.
    pub async fn push_signature(
        &self,
        keys: &Keys,
        manifest: &Manifest,
        signed: &Signed,
    ) -> Result<(), Error> {
        match signed.format() {
            Format::V2 if signed.signer(keys).is_none() => {
                Err(Error::Malformed("the signature is by another key".into()))
            }
            Format::V2 => self.append_layer(&manifest.digest, signed).await,
            Format::V3 => self.push_bundle(keys, manifest, signed).await,
        }
    }

    /// Appends a v2 signature to the manifest with the tag `sha256-HEX.sig`. Signatures
    /// by cosign and by other teams are layers of the same manifest, so the manifest is
    /// extended and not replaced.
    async fn append_layer(&self, digest: &Digest, signed: &Signed) -> Result<(), Error> {
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
            media_type: OCI_MANIFEST,
            key: "layers",
            empty,
        };
        self.append(&list, layer).await
    }

    /// Pushes a v3 bundle by its digest. If the registry does not maintain a list of
    /// referrers, adds the bundle to the index under the fallback tag.
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
        // With this header the registry states that it maintains the list of referrers.
        // An index under the fallback tag would be a second list, which no client reads.
        if headers.contains_key("oci-subject") {
            return Ok(());
        }
        let entry = json!({
            "mediaType": OCI_MANIFEST, "artifactType": BUNDLE, "size": size, "digest": digest,
            "annotations": annotations,
        });
        let list = List {
            tag: fallback_tag(&subject.digest),
            media_type: OCI_INDEX,
            key: "manifests",
            empty: json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [] }),
        };
        self.append(&list, entry).await
    }

    /// Appends `entry` to the list under a tag, and creates the list if it does not
    /// exist.
    async fn append(&self, list: &List, entry: Value) -> Result<(), Error> {
        // Registries have no conditional write: two signers who read the same list
        // overwrite each other. So the list is read again after each write, until the
        // entry is in it.
        for _ in 0..MAX_ATTEMPTS {
            let old = self.find_manifest(&list.tag, list.media_type).await?;
            let mut document = old.map_or(Ok(list.empty.clone()), |m| list.parse(&m))?;
            let entries = list.entries(&mut document)?;
            if entries.contains(&entry) {
                return Ok(());
            }
            entries.push(entry.clone());
            self.put(&list.tag, document.to_string().as_bytes(), list.media_type)
                .await?;
        }
        let tag = &list.tag;
        Err(Error::Unverifiable(format!(
            "{tag}: overwritten by others {MAX_ATTEMPTS} times"
        )))
    }

    /// Pushes a manifest under a tag; returns the digest of its bytes.
    ///
    /// # Errors
    /// The registry refuses or does not answer.
    pub async fn push_manifest(
        &self,
        tag: &str,
        bytes: Vec<u8>,
        media_type: &str,
    ) -> Result<Digest, Error> {
        self.put(tag, &bytes, media_type).await?;
        Ok(Digest::of(&bytes))
    }

    /// Writes a manifest by a tag or digest with `PUT`; returns the headers of the
    /// response.
    async fn put(
        &self,
        reference: &str,
        bytes: &[u8],
        media_type: &str,
    ) -> Result<HeaderMap, Error> {
        // oci-client is not used for this request: it panics if the registry's response
        // to a manifest pushed by digest has no `Location` header.
        let path = format!("manifests/{reference}");
        let request = Request {
            method: Method::PUT,
            body: Some((media_type, bytes)),
            access: Access::Push,
            ..Request::get(self.path(&path), reference, MAX_MANIFEST_BYTES)
        };
        self.http.send(&request).await.map(|r| r.headers)
    }
}

/// List of signatures under a tag: the layers of a manifest (v2) or the manifests of an
/// index (v3).
struct List {
    tag: String,
    media_type: &'static str,
    key: &'static str,
    empty: Value,
}

impl List {
    /// Parses the list as untyped JSON, so that fields and entries of other signers are
    /// kept.
    fn parse(&self, manifest: &Manifest) -> Result<Value, Error> {
        serde_json::from_slice(&manifest.bytes).map_err(|_| self.malformed())
    }

    fn entries<'a>(&self, document: &'a mut Value) -> Result<&'a mut Vec<Value>, Error> {
        let entries = document.get_mut(self.key).and_then(Value::as_array_mut);
        entries.ok_or_else(|| self.malformed())
    }

    fn malformed(&self) -> Error {
        Error::Malformed(format!("{}: not a list of signatures", self.tag))
    }
}
