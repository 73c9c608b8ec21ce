//! Reading one repository of a registry.

use std::time::Duration;

use crate::bundle::{BUNDLE, LARGEST_BUNDLE};
use crate::http::{Ask, Http, PATIENCE};
use crate::manifest::{Descriptor, IMAGE_TYPES, INDEX_TYPES, LARGEST_MANIFEST};
use crate::verify::{LARGEST_PAYLOAD, MOST_SIGNATURES, judge, no_good};
use crate::{Digest, Error, Format, ImageRef, Keys, Manifest, Proof, Repository, Signed, Verified};

/// Every type that a manifest of an image may have.
const ANY: [&str; 4] = [
    IMAGE_TYPES[1],
    IMAGE_TYPES[0],
    INDEX_TYPES[1],
    INDEX_TYPES[0],
];
/// What a signature's manifest is.
const OCI_MANIFEST: &str = IMAGE_TYPES[1];
/// Layer type of a v2 payload.
pub const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// Annotation that holds a v2 signature.
pub const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
/// What a registry says that keeps no list of referrers.
const NO_REFERRERS: [u16; 4] = [400, 405, 406, 501];
/// How much longer all of a verification may take than one answer.
const ANSWERS: u32 = 6;

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
    pub(crate) http: Http,
    pub(crate) repository: Repository,
    #[cfg(feature = "push")]
    pub(crate) credentials: Option<Credentials>,
    #[cfg(feature = "push")]
    pub(crate) ca_bundle: Vec<Vec<u8>>,
    #[cfg(feature = "push")]
    pub(crate) uploads: tokio::sync::OnceCell<oci_distribution::Client>,
    patience: Duration,
}

/// A signature that is there, not read yet.
enum Candidate {
    Layer(Descriptor),
    Bundle(Descriptor),
}

impl Registry {
    /// Prepares; nothing is sent. `ca_bundle` are PEM certificates beside the
    /// system's.
    ///
    /// # Errors
    /// Certificates that cannot be used.
    pub fn new(
        repository: &Repository,
        credentials: Option<Credentials>,
        ca_bundle: &[Vec<u8>],
    ) -> Result<Self, Error> {
        Self::patient(repository, credentials, ca_bundle, PATIENCE)
    }

    /// The same, with how long an answer may take.
    ///
    /// # Errors
    /// As [`Registry::new`].
    pub fn patient(
        repository: &Repository,
        credentials: Option<Credentials>,
        ca_bundle: &[Vec<u8>],
        patience: Duration,
    ) -> Result<Self, Error> {
        let (host, path) = (repository.host(), repository.path());
        Ok(Self {
            #[cfg(feature = "push")]
            credentials: credentials.clone(),
            http: Http::new(host, path, credentials, ca_bundle, patience)?,
            repository: repository.clone(),
            #[cfg(feature = "push")]
            ca_bundle: ca_bundle.to_vec(),
            #[cfg(feature = "push")]
            uploads: tokio::sync::OnceCell::new(),
            patience,
        })
    }

    /// The repository.
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// The manifest or index of `image`: by digest when it names one.
    ///
    /// # Errors
    /// Not found, not allowed, unreachable, or bytes that are not the digest's.
    pub async fn resolve(&self, image: &ImageRef) -> Result<Manifest, Error> {
        let name = match (&image.digest, &image.tag) {
            (Some(digest), _) => digest.as_str(),
            (None, tag) => tag.as_deref().unwrap_or("latest"),
        };
        let manifest = self.manifest(name, &image.to_string(), &ANY).await?;
        match &image.digest {
            Some(digest) if manifest.digest != *digest => Err(other(&image.to_string())),
            _ => Ok(manifest),
        }
    }

    /// Resolves `image` once, and this platform's image where that is an index;
    /// finds a signature that counts, of one or the other; gives it with all
    /// that is needed to verify again without network.
    ///
    /// # Errors
    /// Unsigned, untrusted, or why it cannot be told.
    pub async fn prove(&self, keys: &Keys, image: &ImageRef) -> Result<(Verified, Proof), Error> {
        let limit = self.patience * ANSWERS;
        let proved = tokio::time::timeout(limit, self.find_proof(keys, image)).await;
        proved.unwrap_or_else(|_| {
            Err(Error::CannotTell(format!(
                "{image}: not done within {} s",
                limit.as_secs()
            )))
        })
    }

    async fn find_proof(&self, keys: &Keys, image: &ImageRef) -> Result<(Verified, Proof), Error> {
        let top = self.resolve(image).await?;
        let Some(child) = top.child()? else {
            let (verified, signed) = self.find(keys, &top.digest).await?;
            return Ok((verified, Proof::new(&top, vec![signed])));
        };
        let child = self.pinned(&child).await?;
        let signed = match self.find(keys, &top.digest).await {
            Ok((_, signed)) => signed,
            Err(Error::Unsigned(_) | Error::Untrusted(_)) => {
                self.find(keys, &child.digest).await?.1
            }
            Err(error) => return Err(error),
        };
        let proof = Proof::of_index(&top, &child, vec![signed]);
        Ok((proof.verify(keys, &self.repository)?, proof))
    }

    /// A manifest that another one names.
    async fn pinned(&self, descriptor: &Descriptor) -> Result<Manifest, Error> {
        let name = descriptor.digest.as_str();
        let manifest = self.manifest(name, name, &ANY).await?;
        if manifest.digest != descriptor.digest || manifest.bytes.len() as u64 != descriptor.size {
            return Err(other(name));
        }
        Ok(manifest)
    }

    /// Whether `digest` bears a signature by one of `keys`, in either form or
    /// in the one that is asked for.
    ///
    /// # Errors
    /// As [`Registry::prove`].
    pub async fn verified(
        &self,
        keys: &Keys,
        digest: &Digest,
        formats: &[Format],
    ) -> Result<Verified, Error> {
        self.search(keys, digest, formats).await.map(|(v, _)| v)
    }

    async fn find(&self, keys: &Keys, digest: &Digest) -> Result<(Verified, Signed), Error> {
        self.search(keys, digest, &[Format::V2, Format::V3]).await
    }

    /// The newest signature that counts. One that makes no sense hides no
    /// other; a registry that does not answer ends the search.
    async fn search(
        &self,
        keys: &Keys,
        digest: &Digest,
        formats: &[Format],
    ) -> Result<(Verified, Signed), Error> {
        let mut reasons = Vec::new();
        for format in formats {
            let found = self.candidates(digest, *format).await;
            let candidates = skip(found, &mut reasons)?.unwrap_or_default();
            for candidate in candidates.iter().rev().take(MOST_SIGNATURES) {
                let read = self.read(digest, candidate).await;
                let Some(signed) = skip(read, &mut reasons)? else {
                    continue;
                };
                match judge(keys, &self.repository, digest, &signed) {
                    Ok(verified) => return Ok((verified, signed)),
                    Err(reason) => reasons.push(reason),
                }
            }
        }
        Err(no_good(&self.repository, digest, reasons))
    }

    /// All signatures of the image `digest` that can be read, in both forms;
    /// none when there are none.
    ///
    /// # Errors
    /// Unreachable or not allowed.
    pub async fn signatures(&self, digest: &Digest) -> Result<Vec<Signed>, Error> {
        let mut all = Vec::new();
        for format in [Format::V2, Format::V3] {
            let found = self.candidates(digest, format).await;
            let candidates = skip(found, &mut Vec::new())?.unwrap_or_default();
            for candidate in candidates.iter().take(MOST_SIGNATURES) {
                let read = self.read(digest, candidate).await;
                all.extend(skip(read, &mut Vec::new())?);
            }
        }
        Ok(all)
    }

    async fn candidates(&self, digest: &Digest, format: Format) -> Result<Vec<Candidate>, Error> {
        match format {
            Format::V2 => {
                let manifest = self.optional(&signature_tag(digest), OCI_MANIFEST).await?;
                let layers = manifest.map_or(Ok(Vec::new()), |m| m.layers())?;
                let ours = layers.into_iter().filter(|l| {
                    l.media_type == SIMPLE_SIGNING && l.annotations.contains_key(SIGNATURE)
                });
                Ok(ours.map(Candidate::Layer).collect())
            }
            Format::V3 => {
                let listed = self.referrers(digest).await?;
                let ours = listed
                    .into_iter()
                    .filter(|d| d.media_type == OCI_MANIFEST && d.artifact_type == BUNDLE);
                Ok(ours.map(Candidate::Bundle).collect())
            }
        }
    }

    async fn read(&self, digest: &Digest, candidate: &Candidate) -> Result<Signed, Error> {
        match candidate {
            Candidate::Layer(layer) => {
                let payload = self.blob(layer, LARGEST_PAYLOAD as u64).await?;
                let text = layer.annotations.get(SIGNATURE).map_or("", String::as_str);
                Signed::from_text(payload, text)
                    .ok_or_else(|| Error::Malformed("a signature that is not base64".into()))
            }
            Candidate::Bundle(descriptor) => {
                let manifest = self.pinned(descriptor).await?;
                let bad = || Error::Malformed("a referrer that holds no bundle for it".into());
                let (_, subject) = manifest.about()?;
                let layers = manifest.layers()?;
                let layer = layers.first().filter(|l| l.media_type == BUNDLE);
                let layer = layer
                    .filter(|_| subject.as_ref() == Some(digest) && layers.len() == 1)
                    .ok_or_else(bad)?;
                Signed::from_bundle(&self.blob(layer, LARGEST_BUNDLE).await?)
            }
        }
    }

    /// What refers to `digest`: by the registry's own list, or where it keeps
    /// none, by the index under the fallback tag.
    pub(crate) async fn referrers(&self, digest: &Digest) -> Result<Vec<Descriptor>, Error> {
        let kind = BUNDLE.replace('+', "%2B");
        let path = format!("referrers/{digest}?artifactType={kind}");
        let ask = Ask {
            accept: &INDEX_TYPES,
            absent: &NO_REFERRERS,
            ..Ask::get(self.path(&path), digest.as_str(), LARGEST_MANIFEST)
        };
        let pages = match self.pages(ask).await {
            Err(Error::NotFound(_)) => {
                let tag = fallback_tag(digest);
                let index = self.optional(&tag, INDEX_TYPES[1]).await?;
                index.into_iter().map(|m| m.bytes).collect()
            }
            other => other?,
        };
        let mut all = Vec::new();
        for page in pages {
            all.extend(Manifest::new(page).listed()?);
        }
        Ok(all)
    }

    /// A manifest that may be absent.
    pub(crate) async fn optional(&self, tag: &str, kind: &str) -> Result<Option<Manifest>, Error> {
        match self.manifest(tag, tag, &[kind]).await {
            Ok(manifest) => Ok(Some(manifest)),
            Err(Error::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn manifest(&self, name: &str, what: &str, kinds: &[&str]) -> Result<Manifest, Error> {
        let path = self.path(&format!("manifests/{name}"));
        let ask = Ask {
            accept: kinds,
            ..Ask::get(path, what, LARGEST_MANIFEST)
        };
        self.http.ask(&ask).await.map(|a| Manifest::new(a.body))
    }

    pub(crate) fn path(&self, rest: &str) -> String {
        format!("/v2/{}/{rest}", self.repository.path())
    }

    /// A small blob, held against its digest; another host may send it.
    async fn blob(&self, descriptor: &Descriptor, limit: u64) -> Result<Vec<u8>, Error> {
        let name = descriptor.digest.as_str();
        let size = usize::try_from(descriptor.size).unwrap_or(usize::MAX);
        if descriptor.size > limit {
            return Err(Error::Malformed(format!("a signature of {size} bytes")));
        }
        let path = self.path(&format!("blobs/{name}"));
        let ask = Ask {
            elsewhere: true,
            ..Ask::get(path, name, size)
        };
        let bytes = self.http.ask(&ask).await?.body;
        if Digest::of(&bytes) != descriptor.digest {
            return Err(other(name));
        }
        Ok(bytes)
    }
}

/// What is absent or makes no sense is noted and passed over; what cannot be
/// told is an error.
fn skip<T>(result: Result<T, Error>, reasons: &mut Vec<String>) -> Result<Option<T>, Error> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error @ (Error::CannotTell(_) | Error::Unauthorized(_))) => Err(error),
        Err(error) => {
            reasons.push(error.to_string());
            Ok(None)
        }
    }
}

fn other(what: &str) -> Error {
    Error::Malformed(format!("{what}: the registry sent other content"))
}

/// Cosign's tag for the v2 signatures of `digest`.
pub fn signature_tag(digest: &Digest) -> String {
    format!("sha256-{}.sig", digest.hex())
}

/// The tag for what refers to `digest` where the registry keeps no list.
pub fn fallback_tag(digest: &Digest) -> String {
    format!("sha256-{}", digest.hex())
}
