//! `push`: uploads or copies an image, signs it, and verifies what was stored.

use std::sync::Arc;

use anyhow::Result;
use edge_common::contract::annotation;
use edge_common::exit::Failure;
use edge_common::log;
use edge_signature::{
    Annotations, Digest, Draft, Error, Format, ImageRef, Keys, Manifest, Registry,
    SHOWN_KEY_DIGITS, Select, Verified, verify as verify_signature,
};
use serde_json::{Value, json};

use crate::cli::args::PushOptions;
use crate::commands::consent;
use crate::commands::release_number;
use crate::exit_code::{SIGNATURE, registry_error};
use crate::image::{mirror, upload};
use crate::project::app::App;
use crate::project::config::Project;
use crate::project::signing::Signer;

/// Uploads or copies a version of an app, signs it, and prints `REPOSITORY@DIGEST`, or
/// with `--json` what was signed.
pub(crate) async fn push(
    project: &Project,
    app: &App,
    version: &str,
    options: &PushOptions,
) -> Result<()> {
    // Key and grants are checked before the upload: an unreadable key is reported at once
    // instead of after minutes, and a user who declines the grants leaves no image in the
    // registry.
    let signer = Signer::new(project, options.key.as_deref()).await?;
    let keys = signer.keys().await?;
    let source = options.from.as_deref().map(mirror::source).transpose()?;
    if let Some(source) = &source {
        log::info(format_args!("{} is {source}", app.name));
    }
    consent::confirm_grants(app, options)?;
    let run_spec = app.spec.run_spec().to_bytes()?;
    let image = project.image(&app.name, version).await?;
    let registry = Arc::new(project.registry().await?);
    // The signatures of earlier versions are read during the upload. The number itself is
    // taken after it: another laptop may push in the meantime.
    let upload = async {
        match &source {
            Some(source) => mirror::copy(project, &registry, &image, source).await,
            None => upload::upload(&registry, &image, &project.config.platform).await,
        }
    };
    let highest = release_number::highest(&registry, &keys, &app.name, version);
    let (digest, highest) = tokio::try_join!(upload, highest)?;
    let image = ImageRef {
        digest: Some(digest.clone()),
        ..image
    };
    let manifests = registry.resolve_all(&image).await.map_err(registry_error)?;
    let signing = Signing {
        registry: &registry,
        keys: &keys,
        signer: &signer,
        image: &image,
        annotations: Annotations {
            app: app.name.clone(),
            version: version.into(),
            release_number: release_number::above(highest)?,
            grants: app.spec.grants(),
            run: Some(push_run_spec(&registry, run_spec).await?),
        },
        commit: app.commit().await,
    };
    let mut new = 0;
    let mut last = None;
    for manifest in &manifests {
        for format in options.format.list() {
            let (is_new, verified) = signing.sign(manifest, *format).await?;
            new += u32::from(is_new);
            last = Some(verified);
        }
    }
    if new == 0 {
        log::info("already signed by this key");
    }
    let reference = format!("{}@{digest}", image.repository);
    match last {
        Some(verified) if options.output.json => println!("{}", report(&reference, new, &verified)),
        _ => println!("{reference}"),
    }
    Ok(())
}

/// Returns the output of `--json`: the image, the number of new signatures, and what the
/// last one states.
fn report(reference: &str, new: u32, verified: &Verified) -> Value {
    let stated = &verified.annotations;
    json!({
        "app": stated.app, "version": stated.version, "image": reference,
        "release_number": stated.release_number, "grants": stated.grants,
        "run": stated.run, "signer": verified.signer, "new_signatures": new,
    })
}

/// Pushes the run specification, which `app.yaml` describes, and returns the digest to sign.
async fn push_run_spec(registry: &Registry, bytes: Vec<u8>) -> Result<Digest> {
    let size = bytes.len();
    let pushed = registry.push_run_spec(bytes).await;
    let digest = pushed.map_err(registry_error)?;
    log::info(format_args!("run specification {digest}, {size} bytes"));
    Ok(digest)
}

/// Inputs for the signatures of one push, which are the same for every manifest.
struct Signing<'a> {
    registry: &'a Registry,
    keys: &'a Keys,
    signer: &'a Signer,
    image: &'a ImageRef,
    annotations: Annotations,
    commit: Option<String>,
}

impl Signing<'_> {
    /// Signs one manifest, stores the signature and verifies the stored copy. Returns
    /// whether the signature is new, and its content; the registry may already have an
    /// equal one.
    async fn sign(&self, manifest: &Manifest, format: Format) -> Result<(bool, Verified)> {
        let (registry, keys, digest) = (self.registry, self.keys, &manifest.digest);
        // The same manifest may be signed for other apps and versions, too.
        let select = Select::Version {
            app: &self.annotations.app,
            version: &self.annotations.version,
        };
        let formats = [format];
        match registry.verify_digest(keys, digest, &formats, select).await {
            Ok(verified) if self.is_stated_by(&verified) => return Ok((false, verified)),
            Ok(_) | Err(Error::Unsigned(_) | Error::Untrusted(_) | Error::NotSelected(_)) => {}
            Err(error) => return Err(registry_error(error)),
        }
        let name = ImageRef {
            digest: None,
            ..self.image.clone()
        };
        let mut draft = Draft::new(format, &name, digest, &self.annotations);
        if let Some(commit) = &self.commit {
            draft = draft.with_annotation(annotation::GIT, commit);
        }
        let signature = self.signer.sign(&draft.to_sign()).await?;
        let signed = draft.signed(signature);
        // The new signature is verified before it is stored: a signer may have hashed
        // other bytes (a test server for KMS did), and devices would be the first to
        // detect it.
        let new = std::slice::from_ref(&signed);
        verify_signature(keys, registry.repository(), digest, new, select)
            .map_err(|e| Failure::error(SIGNATURE, format_args!("the new signature: {e}")))?;
        let attached = registry.push_signature(keys, manifest, &signed).await;
        attached.map_err(registry_error)?;
        // Two simultaneous pushes both rewrite the list of signatures, and the later one
        // wins. Therefore the signature is read back.
        let stored = registry.verify_digest(keys, digest, &formats, select).await;
        let stored = stored.map_err(registry_error)?;
        if stored.annotations != self.annotations {
            let why = format!("{digest}: the registry returned another signature: push again");
            return Err(Failure::error(SIGNATURE, why));
        }
        log::info(format_args!(
            "signed {} as {} {}, release number {}, by key {}",
            &digest.hex()[..12],
            stored.annotations.app,
            stored.annotations.version,
            stored.annotations.release_number,
            &stored.signer[..SHOWN_KEY_DIGITS]
        ));
        Ok((true, stored))
    }

    /// Returns whether an existing signature states the same app, version, grants and run
    /// specification. The release number is ignored: it is the time of the first push, and
    /// another push of the same version must not raise it.
    fn is_stated_by(&self, verified: &Verified) -> bool {
        let (new, old) = (&self.annotations, &verified.annotations);
        (&new.app, &new.version) == (&old.app, &old.version)
            && (&new.grants, &new.run) == (&old.grants, &old.run)
    }
}
