//! Search for the signatures of an image in the registry, and their verification.

use std::collections::BTreeSet;

use super::client::Registry;
use super::http::Request;
use super::layout::fallback_tag;
use crate::annotations::Annotations;
use crate::bundle::BUNDLE;
use crate::cached::CachedSignature;
use crate::error::Error;
use crate::keys::Keys;
use crate::limits::{MAX_BUNDLE_BYTES, MAX_MANIFEST_BYTES, MAX_PAYLOAD_BYTES, MAX_SIGNATURES};
use crate::manifest::{Descriptor, IMAGE_TYPES, INDEX_TYPES, Manifest};
use crate::reference::{Digest, ImageRef};
use crate::select::Select;
use crate::signed::{Format, Signed};
use crate::verified::Verified;
use crate::verify::{untrusted, verify_one};

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
pub(super) const RESPONSES: u32 = 6;
/// Both formats, in the order of the search.
const BOTH: [Format; 2] = [Format::V2, Format::V3];

/// Signature that the registry lists and that is not downloaded yet.
enum Candidate {
    Layer(Descriptor),
    Bundle(Descriptor),
    /// Manifest that is listed under another type, or none. Some tools write that of the
    /// configuration into the index under the fallback tag, so only the manifest shows
    /// whether it is a bundle.
    Other(Descriptor),
}

/// Trusted signatures that were found, and the reasons why others are not trusted.
#[derive(Default)]
struct Found {
    verified: Vec<Verified>,
    signed: Vec<Signed>,
    reasons: Vec<String>,
}

impl Found {
    fn add(&mut self, verified: Verified, signed: Signed) {
        self.verified.push(verified);
        self.signed.push(signed);
    }

    fn has(&self, digest: &Digest) -> bool {
        self.verified.iter().any(|v| v.digest == *digest)
    }
}

impl Registry {
    /// Resolves `image` once, for an index also the image of this platform, and searches
    /// for the trusted signatures of either. Returns the one for the tag of `image`, or
    /// without a tag the newest, and a cached signature with all of them, which verifies
    /// the image again without a network.
    ///
    /// The caller must run the returned digest and not the name: between two requests a
    /// tag can move to an image that was never signed.
    ///
    /// # Errors
    /// The image is not signed or not trusted, its signatures are for another tag or
    /// ambiguous, or the registry does not answer.
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
        let select = Select::of(image);
        let mut found = Found::default();
        self.collect(keys, &top.digest, &BOTH, &mut found).await?;
        let cached = match top.child()? {
            None => CachedSignature::new(&top, found.signed),
            Some(child) => {
                let child = self.referenced(&child).await?;
                let chosen = select.choose(&top.digest, &found.verified);
                if matches!(chosen, Err(Error::NotSelected(_))) {
                    self.collect(keys, &child.digest, &BOTH, &mut found).await?;
                }
                CachedSignature::of_index(&top, &child, found.signed)
            }
        };
        if found.verified.is_empty() {
            return Err(untrusted(
                keys,
                &self.repository,
                &top.digest,
                found.reasons,
            ));
        }
        let chosen = cached.select(keys, &self.repository, select)?.annotations;
        let mut cached = cached.merged(None, keys, &self.repository, &chosen);
        self.add_run_specs(keys, &mut cached, &chosen).await?;
        // The result is computed from the cached bytes, as in later runs without a
        // network, so that both agree.
        Ok((cached.verify_for(keys, &self.repository, select)?, cached))
    }

    /// Downloads the run specifications that the signatures state. That of another app or
    /// version than `chosen` may be absent.
    async fn add_run_specs(
        &self,
        keys: &Keys,
        cached: &mut CachedSignature,
        chosen: &Annotations,
    ) -> Result<(), Error> {
        let trusted = cached.trusted(keys, &self.repository)?;
        let stated: BTreeSet<_> = trusted
            .into_iter()
            .filter_map(|v| v.annotations.run)
            .collect();
        for digest in stated {
            match self.run_spec(&digest).await {
                Ok(bytes) => cached.run_specs.push(bytes),
                Err(Error::NotFound(_) | Error::Malformed(_))
                    if chosen.run.as_ref() != Some(&digest) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Returns the trusted signature of the manifest `digest` that `select` chooses among
    /// those in `formats`. Its run specification is not downloaded.
    ///
    /// # Errors
    /// As [`Registry::verify`].
    pub async fn verify_digest(
        &self,
        keys: &Keys,
        digest: &Digest,
        formats: &[Format],
        select: Select<'_>,
    ) -> Result<Verified, Error> {
        let mut found = Found::default();
        self.collect(keys, digest, formats, &mut found).await?;
        if found.verified.is_empty() {
            return Err(untrusted(keys, &self.repository, digest, found.reasons));
        }
        select.choose(digest, &found.verified)
    }

    /// Adds the trusted signatures of the manifest `digest` to `found`. A malformed
    /// signature is skipped; an error of the registry ends the search.
    async fn collect(
        &self,
        keys: &Keys,
        digest: &Digest,
        formats: &[Format],
        found: &mut Found,
    ) -> Result<(), Error> {
        for format in formats {
            let listed = match self.candidates(digest, *format).await {
                // The permission to list referrers is a separate one at some registries,
                // and v2 signatures were found without it before.
                Err(Error::Unauthorized(_)) if *format == Format::V3 && found.has(digest) => {
                    continue;
                }
                listed => skip(listed, &mut found.reasons)?.unwrap_or_default(),
            };
            // Signers append, so the last signatures are the newest ones.
            let skipped = listed.len().saturating_sub(MAX_SIGNATURES);
            for candidate in &listed[skipped..] {
                let read = self.read(digest, candidate).await;
                // A list of contents, for example, is no signature that is malformed.
                let mut ignored = Vec::new();
                let reasons = match candidate {
                    Candidate::Other(_) => &mut ignored,
                    _ => &mut found.reasons,
                };
                let Some(signed) = skip(read, reasons)? else {
                    continue;
                };
                match verify_one(keys, &self.repository, digest, &signed) {
                    Ok(verified) => found.add(verified, signed),
                    Err(reason) => found.reasons.push(reason),
                }
            }
        }
        Ok(())
    }

    /// Returns the well-formed signatures of the manifest `digest`, at most 64 in each of
    /// the two formats, without verifying them.
    ///
    /// # Errors
    /// The registry refuses or does not answer.
    pub async fn signatures(&self, digest: &Digest) -> Result<Vec<Signed>, Error> {
        self.signatures_of(digest, &BOTH).await
    }

    /// Returns the signatures as [`Registry::signatures`] does, in some formats.
    pub(super) async fn signatures_of(
        &self,
        digest: &Digest,
        formats: &[Format],
    ) -> Result<Vec<Signed>, Error> {
        let mut signatures = Vec::new();
        for format in formats {
            let listed = self.candidates(digest, *format).await;
            let candidates = skip(listed, &mut Vec::new())?.unwrap_or_default();
            // Signers append, so the last signatures are the newest ones.
            let skipped = candidates.len().saturating_sub(MAX_SIGNATURES);
            for candidate in &candidates[skipped..] {
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
                let manifests = referrers
                    .into_iter()
                    .filter(|d| d.media_type == OCI_MANIFEST);
                let (bundles, others): (Vec<_>, Vec<_>) =
                    manifests.partition(|d| d.artifact_type == BUNDLE);
                // Only the last ones are read, so those that say what they are come last.
                let others = others.into_iter().map(Candidate::Other);
                Ok(others
                    .chain(bundles.into_iter().map(Candidate::Bundle))
                    .collect())
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
            Candidate::Bundle(descriptor) | Candidate::Other(descriptor) => {
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
