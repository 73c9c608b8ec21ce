//! Cached signatures: manifests and signatures that a device stores in order to verify an
//! image again without a network.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::annotations::Annotations;
use crate::encoding;
use crate::error::Error;
use crate::keys::Keys;
use crate::manifest::Manifest;
use crate::reference::{Digest, Repository};
use crate::select::Select;
use crate::signed::Signed;
use crate::verified::Verified;
use crate::verify::{verify, verify_one};

/// Version of the file format, for readers that come later.
pub(crate) const VERSION: u32 = 1;

/// Manifest, signatures and run specifications of an image; for an index, also the
/// manifest of this platform's image.
///
/// The entry contains the verified bytes and no result such as `verified: true`: an
/// attacker who can write to `/data` could set such a flag, and a signing key that is
/// removed from the device image would stay trusted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CachedSignature {
    /// Version of the format. Files of version 0, which do not state it, contain only one
    /// signature. A later version is read too, since the content is verified in any case.
    #[serde(rename = "v", default, skip_serializing_if = "is_zero")]
    pub(crate) version: u32,
    #[serde(with = "encoding")]
    pub(crate) manifest: Vec<u8>,
    #[serde(
        default,
        with = "encoding::optional",
        skip_serializing_if = "Option::is_none"
    )]
    child: Option<Vec<u8>>,
    #[serde(rename = "signed")]
    pub(crate) signatures: Vec<Signed>,
    /// Run specifications, in any order: each is found by its digest.
    #[serde(
        default,
        rename = "run",
        with = "encoding::list",
        skip_serializing_if = "Vec::is_empty"
    )]
    pub(crate) run_specs: Vec<Vec<u8>>,
    /// Fields of a later version, which are kept: two versions of the device image share
    /// `/data`.
    #[serde(flatten)]
    pub(crate) unknown: Map<String, Value>,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the form that serde requires"
)]
fn is_zero(version: &u32) -> bool {
    *version == 0
}

impl CachedSignature {
    /// Creates the entry of an image that is not an index from its manifest and
    /// signatures.
    pub fn new(manifest: &Manifest, signatures: Vec<Signed>) -> Self {
        Self {
            version: VERSION,
            manifest: manifest.bytes.clone(),
            child: None,
            signatures,
            run_specs: Vec::new(),
            unknown: Map::new(),
        }
    }

    /// Adds the bytes of a run specification, which count only if a signature states
    /// their digest.
    #[must_use]
    pub fn with_run_spec(mut self, bytes: Vec<u8>) -> Self {
        self.run_specs.push(bytes);
        self
    }

    /// Creates the entry of an index; `child` is the manifest of this platform's image in
    /// the index.
    pub(crate) fn of_index(index: &Manifest, child: &Manifest, signatures: Vec<Signed>) -> Self {
        Self {
            child: Some(child.bytes.clone()),
            ..Self::new(index, signatures)
        }
    }

    /// Verifies the newest signature, as [`CachedSignature::verify_for`] with
    /// [`Select::Newest`] does.
    ///
    /// # Errors
    /// As [`CachedSignature::verify_for`].
    pub fn verify(&self, keys: &Keys, repository: &Repository) -> Result<Verified, Error> {
        self.verify_for(keys, repository, Select::Newest)
    }

    /// Verifies that a trusted signature, which `select` chooses, covers the requested
    /// manifest or, if that is an index, this platform's image in the index. The result
    /// contains the digest of the requested manifest and the run specification that the
    /// signature states.
    ///
    /// # Errors
    /// As [`verify`], the stored image is not the one that the index lists, or the signed
    /// run specification is missing.
    pub fn verify_for(
        &self,
        keys: &Keys,
        repository: &Repository,
        select: Select,
    ) -> Result<Verified, Error> {
        let verified = self.select(keys, repository, select)?;
        let run = self.run_spec(&verified.annotations)?;
        Ok(Verified { run, ..verified })
    }

    /// Chooses a trusted signature as [`CachedSignature::verify_for`] does, without its run
    /// specification.
    pub(crate) fn select(
        &self,
        keys: &Keys,
        repository: &Repository,
        select: Select,
    ) -> Result<Verified, Error> {
        let top = Digest::of(&self.manifest);
        let image = self.image()?.digest;
        let verify = |digest| {
            let verify = |select| verify(keys, repository, digest, &self.signatures, select);
            match (verify(select), select) {
                // The only signature of the entry replaced that of the container's version,
                // for the same app and the same manifest.
                (Err(Error::NotSelected(_)), Select::Version { app, .. }) if self.version == 0 => {
                    verify(Select::App(app))
                }
                (result, _) => result,
            }
        };
        let verified = match verify(&top) {
            Err(error) if image != top && !matches!(error, Error::Ambiguous(_)) => {
                // An index can be assembled from images that are already signed, so a
                // signature of this platform's image suffices.
                verify(&image).map_err(|other| match error {
                    Error::NotSelected(_) => error,
                    _ => other,
                })?
            }
            other => other?,
        };
        Ok(Verified {
            digest: top,
            ..verified
        })
    }

    /// Returns every trusted signature, of the requested manifest and of this platform's
    /// image in an index, without its run specification.
    ///
    /// # Errors
    /// The stored image is not the one that the index lists.
    pub fn trusted(&self, keys: &Keys, repository: &Repository) -> Result<Vec<Verified>, Error> {
        let (top, image) = (self.digest(), self.image()?.digest);
        let of = |signed| {
            let verify = |digest| verify_one(keys, repository, digest, signed).ok();
            verify(&top).or_else(|| verify(&image))
        };
        Ok(self.signatures.iter().filter_map(of).collect())
    }

    /// Returns the run specification with the digest that the signature states; `None` if
    /// it states none.
    fn run_spec(&self, annotations: &Annotations) -> Result<Option<Vec<u8>>, Error> {
        let Some(digest) = &annotations.run else {
            return Ok(None);
        };
        let signed = |bytes: &&Vec<u8>| Digest::of(bytes) == *digest;
        let found = self.run_specs.iter().find(signed).cloned();
        found.map(Some).ok_or_else(|| {
            let (app, version) = (&annotations.app, &annotations.version);
            Error::Malformed(format!(
                "the run specification {digest} of {app} {version} is missing"
            ))
        })
    }

    /// Returns the digest of the requested manifest, which can be an index.
    pub fn digest(&self) -> Digest {
        Digest::of(&self.manifest)
    }

    /// Returns the manifest of the image that the engine pulls: the requested manifest
    /// or, if that is an index, this platform's image in the index.
    ///
    /// # Errors
    /// The index does not list the stored image, or lists no image for this platform.
    pub fn image(&self) -> Result<Manifest, Error> {
        let top = Manifest::new(self.manifest.clone());
        let malformed = |reason: &str| {
            Error::Malformed(format!("cached signature of {}: {reason}", top.digest))
        };
        match (top.child()?, &self.child) {
            (None, None) => Ok(top),
            (Some(entry), Some(child)) => {
                let child = Manifest::new(child.clone());
                if child.digest != entry.digest || child.bytes.len() as u64 != entry.size {
                    return Err(malformed("the image is not the one in the index"));
                }
                Ok(child)
            }
            (Some(_), None) => Err(malformed("the image of the index is missing")),
            (None, Some(_)) => Err(malformed("two images")),
        }
    }

    /// Returns the image ID that the engine assigns: the digest of the image's
    /// configuration.
    ///
    /// # Errors
    /// As [`CachedSignature::image`], or the manifest is not that of an image.
    pub fn image_id(&self) -> Result<Digest, Error> {
        self.image()?.config()
    }
}
