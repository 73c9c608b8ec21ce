//! Search for the signatures of an image in the registry, and their verification.

use super::client::Registry;
use super::http::Request;
use crate::bundle::BUNDLE;
use crate::cached::CachedSignature;
use crate::error::Error;
use crate::keys::Keys;
use crate::limits::{MAX_BUNDLE_BYTES, MAX_MANIFEST_BYTES, MAX_PAYLOAD_BYTES, MAX_SIGNATURES};
use crate::manifest::{Descriptor, IMAGE_TYPES, INDEX_TYPES, Manifest};
use crate::reference::{Digest, ImageRef};
use crate::signed::{Format, Signed};
use crate::verify::{Verified, untrusted, verify_one};

/// Media type of the manifests that contain signatures, in both formats.
const OCI_MANIFEST: &str = IMAGE_TYPES[1];
/// Media type of a layer that is a v2 payload.
pub(super) const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// Annotation of a layer that contains the v2 signature in Base64.
pub(super) const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
/// HTTP statuses, besides 404, with which a registry without a list of referrers answers
/// the request for it: some registries report the path as malformed.
const NO_REFERRERS: [u16; 4] = [400, 405, 406, 501];
/// Time limit of a whole verification, as a multiple of the limit for one response.
/// Without it, 64 slow signatures in each format could delay a deployment for an hour.
const RESPONSES: u32 = 6;
/// Both formats, in the order of the search. V2 comes first: it is the default of
/// `edge-app push` and needs fewer requests.
const BOTH: [Format; 2] = [Format::V2, Format::V3];

/// Signature that the registry lists and that is not downloaded yet.
enum Candidate {
    Layer(Descriptor),
    Bundle(Descriptor),
}

impl Registry {
    /// Resolves `image` once, for an index also the image of this platform, and searches
    /// for a trusted signature of either. Returns the result and a cached signature that
    /// verifies the image again without a network.
    ///
    /// The caller must run the returned digest and not the name: between two requests a
    /// tag can move to an image that was never signed.
    ///
    /// # Errors
    /// The image is not signed or not trusted, or the registry does not answer.
    pub async fn verify(
        &self,
        keys: &Keys,
        image: &ImageRef,
    ) -> Result<(Verified, CachedSignature), Error> {
        let limit = self.timeout * RESPONSES;
        let verified = tokio::time::timeout(limit, self.verify_image(keys, image)).await;
        verified.unwrap_or_else(|_| {
            Err(Error::Unverifiable(format!(
                "{image}: not done within {} s",
                limit.as_secs()
            )))
        })
    }

    async fn verify_image(
        &self,
        keys: &Keys,
        image: &ImageRef,
    ) -> Result<(Verified, CachedSignature), Error> {
        let top = self.resolve(image).await?;
        let Some(child) = top.child()? else {
            let found = self.find(keys, &top.digest, &BOTH).await?;
            let cached = CachedSignature::new(&top, vec![found.1]);
            return self.with_run_spec(keys, cached, &found.0).await;
        };
        let child = self.referenced(&child).await?;
        let found = match self.find(keys, &top.digest, &BOTH).await {
            Err(Error::Unsigned(_) | Error::Untrusted(_)) => {
                self.find(keys, &child.digest, &BOTH).await?
            }
            other => other?,
        };
        let cached = CachedSignature::of_index(&top, &child, vec![found.1]);
        self.with_run_spec(keys, cached, &found.0).await
    }

    /// Adds the run specification that the signature states, and verifies the cached
    /// signature: the result is computed from the cached bytes, as in later runs without a
    /// network, so that both agree.
    async fn with_run_spec(
        &self,
        keys: &Keys,
        mut cached: CachedSignature,
        verified: &Verified,
    ) -> Result<(Verified, CachedSignature), Error> {
        if let Some(digest) = &verified.annotations.run {
            cached = cached.with_run_spec(self.run_spec(digest).await?);
        }
        Ok((cached.verify(keys, &self.repository)?, cached))
    }

    /// Returns the newest trusted signature of the manifest `digest`, in the first of
    /// `formats` that has one.
    ///
    /// # Errors
    /// As [`Registry::verify`].
    pub async fn verify_digest(
        &self,
        keys: &Keys,
        digest: &Digest,
        formats: &[Format],
    ) -> Result<Verified, Error> {
        self.find(keys, digest, formats).await.map(|(v, _)| v)
    }

    /// Searches for the newest trusted signature, in one format after the other. A
    /// malformed signature is skipped; an error of the registry ends the search.
    async fn find(
        &self,
        keys: &Keys,
        digest: &Digest,
        formats: &[Format],
    ) -> Result<(Verified, Signed), Error> {
        let mut reasons = Vec::new();
        for format in formats {
            let listed = self.candidates(digest, *format).await;
            let candidates = skip(listed, &mut reasons)?.unwrap_or_default();
            // Signers append, so if an image was signed several times, the last signature
            // has the highest release number.
            for candidate in candidates.iter().rev().take(MAX_SIGNATURES) {
                let read = self.read(digest, candidate).await;
                let Some(signed) = skip(read, &mut reasons)? else {
                    continue;
                };
                match verify_one(keys, &self.repository, digest, &signed) {
                    Ok(verified) => return Ok((verified, signed)),
                    Err(reason) => reasons.push(reason),
                }
            }
        }
        Err(untrusted(&self.repository, digest, reasons))
    }

    /// Returns the well-formed signatures of the manifest `digest`, at most 64 in each of
    /// the two formats, without verifying them.
    ///
    /// # Errors
    /// The registry refuses or does not answer.
    pub async fn signatures(&self, digest: &Digest) -> Result<Vec<Signed>, Error> {
        let mut signatures = Vec::new();
        for format in BOTH {
            let listed = self.candidates(digest, format).await;
            let candidates = skip(listed, &mut Vec::new())?.unwrap_or_default();
            for candidate in candidates.iter().take(MAX_SIGNATURES) {
                let read = self.read(digest, candidate).await;
                signatures.extend(skip(read, &mut Vec::new())?);
            }
        }
        Ok(signatures)
    }

    async fn candidates(&self, digest: &Digest, format: Format) -> Result<Vec<Candidate>, Error> {
        match format {
            Format::V2 => {
                let manifest = self
                    .find_manifest(&signature_tag(digest), OCI_MANIFEST)
                    .await?;
                let layers = manifest.map_or(Ok(Vec::new()), |m| m.layers())?;
                // One layer of another type must not hide the signatures beside it.
                let signatures = layers.into_iter().filter(|l| {
                    l.media_type == SIMPLE_SIGNING && l.annotations.contains_key(SIGNATURE)
                });
                Ok(signatures.map(Candidate::Layer).collect())
            }
            Format::V3 => {
                let referrers = self.referrers(digest).await?;
                let bundles = referrers
                    .into_iter()
                    .filter(|d| d.media_type == OCI_MANIFEST && d.artifact_type == BUNDLE);
                Ok(bundles.map(Candidate::Bundle).collect())
            }
        }
    }

    async fn read(&self, digest: &Digest, candidate: &Candidate) -> Result<Signed, Error> {
        match candidate {
            Candidate::Layer(layer) => {
                let payload = self.blob(layer, MAX_PAYLOAD_BYTES as u64).await?;
                let text = layer.annotations.get(SIGNATURE).map_or("", String::as_str);
                Signed::from_text(payload, text)
                    .ok_or_else(|| Error::Malformed("a signature that is not Base64".into()))
            }
            Candidate::Bundle(descriptor) => {
                let manifest = self.referenced(descriptor).await?;
                let malformed = || Error::Malformed("a referrer without a bundle for it".into());
                let subject = manifest.subject()?;
                let layers = manifest.layers()?;
                let layer = layers.first().filter(|l| l.media_type == BUNDLE);
                let layer = layer
                    .filter(|_| subject.as_ref() == Some(digest) && layers.len() == 1)
                    .ok_or_else(malformed)?;
                Signed::from_bundle(&self.blob(layer, MAX_BUNDLE_BYTES).await?)
            }
        }
    }

    /// Returns descriptors of the manifests that refer to `digest`: from the registry's
    /// list of referrers or, if the registry has none, from the index under the fallback
    /// tag.
    async fn referrers(&self, digest: &Digest) -> Result<Vec<Descriptor>, Error> {
        let artifact_type = BUNDLE.replace('+', "%2B");
        let path = format!("referrers/{digest}?artifactType={artifact_type}");
        let request = Request {
            accept: &INDEX_TYPES,
            absent: &NO_REFERRERS,
            ..Request::get(self.path(&path), digest.as_str(), MAX_MANIFEST_BYTES)
        };
        let pages = match self.pages(request).await {
            Err(Error::NotFound(_)) => {
                let tag = fallback_tag(digest);
                let index = self.find_manifest(&tag, INDEX_TYPES[1]).await?;
                index.into_iter().map(|m| m.bytes).collect()
            }
            other => other?,
        };
        let mut referrers = Vec::new();
        for page in pages {
            referrers.extend(Manifest::new(page).entries()?);
        }
        Ok(referrers)
    }
}

/// Converts an absent or malformed signature to `None` and records the reason. An error
/// of the registry stays an error: otherwise an attacker who breaks one response could
/// make a signed image look unsigned.
fn skip<T>(result: Result<T, Error>, reasons: &mut Vec<String>) -> Result<Option<T>, Error> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error @ (Error::Unverifiable(_) | Error::Unauthorized(_))) => Err(error),
        Err(error) => {
            reasons.push(error.to_string());
            Ok(None)
        }
    }
}

/// Returns the tag under which cosign stores the v2 signatures of `digest`:
/// `sha256-HEX.sig`.
pub(super) fn signature_tag(digest: &Digest) -> String {
    format!("sha256-{}.sig", digest.hex())
}

/// Returns the tag of the index that lists the referrers of `digest` in a registry
/// without such a list: `sha256-HEX`.
pub(super) fn fallback_tag(digest: &Digest) -> String {
    format!("sha256-{}", digest.hex())
}
