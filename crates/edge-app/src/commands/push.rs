//! `push`: uploads or copies an image, signs it, and verifies what was stored.

use std::io::{BufRead, IsTerminal, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail};
use edge_common::contract::annotation;
use edge_common::exit::Failure;
use edge_common::log;
use edge_signature::{
    Annotations, Draft, Error, Format, ImageRef, Keys, Manifest, Registry, Verified,
    verify as verify_signature,
};

use crate::cli::args::PushOptions;
use crate::exit_code::{SIGNATURE, registry_error};
use crate::image::{mirror, upload};
use crate::project::app::App;
use crate::project::config::Project;
use crate::project::signing::Signer;

/// Versions of an app whose release numbers are read, from the last tag backwards.
const MAX_COMPARED_VERSIONS: usize = 16;

/// Pushes and signs a version of an app; prints its name with the digest.
pub(crate) async fn push(
    project: &Project,
    app: &App,
    version: &str,
    options: &PushOptions,
) -> Result<()> {
    // The key and the grants come before the upload: nobody waits for minutes to
    // learn that the key cannot be read, and an answer of no leaves no image behind.
    let signer = Signer::new(project, options.key.as_deref()).await?;
    let keys = signer.keys().await?;
    let source = options.from.as_deref().map(mirror::source).transpose()?;
    confirm_grants(app, source.as_ref(), options.yes)?;
    let image = project.image(&app.name, version).await?;
    let registry = project.registry().await?;
    let digest = match &source {
        Some(source) => mirror::copy(project, &registry, &image, source).await?,
        None => upload::upload(&registry, &image).await?,
    };
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
            release_number: next_release_number(&registry, &keys, &app.name).await?,
            grants: app.spec.grants(),
        },
        commit: app.commit().await,
    };
    let mut signed = 0;
    for manifest in &manifests {
        for format in options.format.list() {
            signed += u32::from(signing.sign(manifest, *format).await?);
        }
    }
    if signed == 0 {
        log::info("already signed by this key");
    }
    println!("{}@{digest}", image.repository);
    Ok(())
}

/// Key, annotations and target of the signatures of one push.
struct Signing<'a> {
    registry: &'a Registry,
    keys: &'a Keys,
    signer: &'a Signer,
    image: &'a ImageRef,
    annotations: Annotations,
    commit: Option<String>,
}

impl Signing<'_> {
    /// Signs one manifest and fetches the signature back. Returns whether a signature
    /// was missing.
    async fn sign(&self, manifest: &Manifest, format: Format) -> Result<bool> {
        let (registry, keys, digest) = (self.registry, self.keys, &manifest.digest);
        match registry.verify_digest(keys, digest, &[format]).await {
            Ok(verified) if self.is_stated_by(&verified) => return Ok(false),
            Ok(_) | Err(Error::Unsigned(_) | Error::Untrusted(_)) => {}
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
        // Verified before it is stored: a signer may have hashed other bytes (a double
        // of KMS did), and devices would be the first to notice.
        let new = std::slice::from_ref(&signed);
        verify_signature(keys, registry.repository(), digest, new)
            .map_err(|e| Failure::error(SIGNATURE, format_args!("the new signature: {e}")))?;
        let attached = registry.push_signature(keys, manifest, &signed).await;
        attached.map_err(registry_error)?;
        // Two pushes at a time both rewrite the list of signatures, and the later one
        // wins: only what comes back is known to be there.
        let stored = registry.verify_digest(keys, digest, &[format]).await;
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
            &stored.signer[..16]
        ));
        Ok(true)
    }

    /// Returns whether a signature states these annotations already. The release
    /// number is left out: it is the time of the first push, and a second push of the
    /// same version must not raise it.
    fn is_stated_by(&self, verified: &Verified) -> bool {
        let (new, old) = (&self.annotations, &verified.annotations);
        (&new.app, &new.version, &new.grants) == (&old.app, &old.version, &old.grants)
    }
}

/// Returns a release number above that of every other version.
///
/// It is the time in seconds of Unix time: several laptops push without a counter that
/// they would have to share. A slow clock must not yield a number that devices refuse
/// as a downgrade, so the signed numbers of the last versions are compared.
async fn next_release_number(registry: &Registry, keys: &Keys, app: &str) -> Result<u64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let mut number = now;
    let tags = registry.tags().await.map_err(registry_error)?;
    let prefix = format!("{app}-");
    let versions = tags.into_iter().rev().filter(|t| t.starts_with(&prefix));
    for tag in versions.take(MAX_COMPARED_VERSIONS) {
        let image = ImageRef {
            repository: registry.repository().clone(),
            tag: Some(tag),
            digest: None,
        };
        let manifest = registry.resolve(&image).await.map_err(registry_error)?;
        // A version without a signature by our key has no release number.
        let verified = registry
            .verify_digest(keys, &manifest.digest, &[Format::V2, Format::V3])
            .await;
        if let Ok(verified) = verified {
            // The prefix of app `a` matches tags of app `a-b` too.
            if verified.annotations.app == app {
                number = number.max(verified.annotations.release_number + 1);
            }
        }
    }
    if number > now {
        log::warn(format_args!(
            "the clock is behind an earlier signature: using release number {number}, the next one"
        ));
    }
    Ok(number)
}

/// Asks before grants are signed. A signature with grants opens the device to the app
/// on every board, so a changed `app.yaml` must not pass unseen through a script.
fn confirm_grants(app: &App, source: Option<&ImageRef>, yes: bool) -> Result<()> {
    let grants = app.spec.grants();
    if let Some(source) = source {
        log::info(format_args!("{} is {source}", app.name));
    }
    if grants.is_empty() {
        return Ok(());
    }
    log::info(format_args!(
        "{} requests grants: {}",
        app.name,
        grants.join(", ")
    ));
    if yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(Failure::error(
            2,
            "sign these grants with --yes, or at a terminal",
        ));
    }
    eprint!("Sign them? [y/N] ");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    if !matches!(answer.trim(), "y" | "Y" | "yes") {
        bail!("not signed: nothing was pushed");
    }
    Ok(())
}
