//! Release sets in the registry: an artifact, and its signatures beside it.

use super::client::Registry;
use super::signatures::RESPONSES;
use crate::error::Error;
use crate::reference::{Digest, ImageRef};
#[cfg(feature = "push")]
use crate::set::{ReleaseSet, manifest};
use crate::set::{SetKeys, SetProof, VerifiedSet, document_of};
use crate::signed::Format;

impl Registry {
    /// Downloads and verifies the release set with a digest. Returns it with its proof, which
    /// verifies it again without a network.
    ///
    /// # Errors
    /// As [`SetProof::verify`], or the registry has no such set or does not answer.
    pub async fn set(
        &self,
        trusted: &SetKeys,
        digest: &Digest,
    ) -> Result<(VerifiedSet, SetProof), Error> {
        let limit = self.timeout * RESPONSES;
        let set = tokio::time::timeout(limit, self.fetch_set(trusted, digest)).await;
        set.unwrap_or_else(|_| {
            Err(Error::Unverifiable(format!(
                "release set {digest}: not done within {} s",
                limit.as_secs()
            )))
        })
    }

    async fn fetch_set(
        &self,
        trusted: &SetKeys,
        digest: &Digest,
    ) -> Result<(VerifiedSet, SetProof), Error> {
        let mut proof = self.set_artifact(digest).await?;
        let mut result = Err(Error::Unsigned(format!("{}@{digest}", self.repository)));
        // Most sets have v2 signatures alone, and the search for v3 costs two requests.
        for format in [Format::V2, Format::V3] {
            match self.signatures_of(digest, &[format]).await {
                Ok(signatures) => proof.add(signatures),
                // As for images: the permission to list referrers is a separate one.
                Err(Error::Unauthorized(_))
                    if format == Format::V3 && !proof.signatures().is_empty() => {}
                Err(error) => return Err(error),
            }
            result = proof.verify(trusted, &self.repository);
            if result.is_ok() {
                break;
            }
        }
        Ok((result?, proof.trimmed(trusted, &self.repository)))
    }

    /// Downloads a release set without its signatures.
    ///
    /// # Errors
    /// The registry has no such set, or does not answer, or the artifact is of another kind.
    pub async fn set_artifact(&self, digest: &Digest) -> Result<SetProof, Error> {
        let image = ImageRef {
            repository: self.repository.clone(),
            tag: None,
            digest: Some(digest.clone()),
        };
        let manifest = self.resolve(&image).await?;
        let layer = document_of(&manifest)?;
        let document = self.blob(&layer, layer.size).await?;
        SetProof::new(&manifest, document, Vec::new())
    }

    /// Pushes a release set under its tag, `set.NAME.NUMBER`; returns the digest of its
    /// manifest, which is to be signed.
    ///
    /// # Errors
    /// The set is invalid, the tag exists with other content, or the registry refuses or does
    /// not answer.
    #[cfg(feature = "push")]
    pub async fn push_set(&self, set: &ReleaseSet) -> Result<Digest, Error> {
        use super::push::OCI_MANIFEST;

        let bytes = set.to_bytes()?;
        let (tag, manifest) = (set.tag(), manifest(&bytes));
        if let Some(old) = self.find_manifest(&tag, OCI_MANIFEST).await? {
            return match old.digest == manifest.digest {
                true => Ok(old.digest),
                false => Err(Error::Malformed(format!(
                    "{tag} exists with other content: release under a higher number"
                ))),
            };
        }
        self.push_blob(bytes).await?;
        self.push_blob(b"{}".to_vec()).await?;
        self.push_manifest(&tag, manifest.bytes, OCI_MANIFEST).await
    }
}
