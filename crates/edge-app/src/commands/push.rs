//! `push`: upload or copy, sign, fetch back and verify.

use std::io::{BufRead, IsTerminal, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail};
use edge_common::contract::annotation;
use edge_common::exit::Failure;
use edge_common::log;
use edge_signature::{
    Annotations, Draft, Error, Format, ImageRef, Keys, Manifest, Registry, Verified,
    verify as check,
};

use crate::cli::args::PushOptions;
use crate::exit_code::SIGNATURE;
use crate::exit_code::registry_error;
use crate::image::{mirror, upload};
use crate::project::app::App;
use crate::project::config::Project;
use crate::project::signing::Signer;

/// Most versions of an app whose serials are looked at.
const MOST: usize = 16;

/// Pushes and signs a version of an app; prints its name with the digest.
///
/// # Errors
/// As the exit codes say.
pub(crate) async fn push(
    project: &Project,
    app: &App,
    version: &str,
    options: &PushOptions,
) -> Result<()> {
    let signer = Signer::of(project, options.key.as_deref()).await?;
    let keys = signer.keys().await?;
    let source = options.from.as_deref().map(mirror::source).transpose()?;
    confirm(app, source.as_ref(), options.yes)?;
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
    let family = registry.family(&image).await.map_err(registry_error)?;
    let signing = Signing {
        registry: &registry,
        keys: &keys,
        signer: &signer,
        image: &image,
        annotations: Annotations {
            app: app.name.clone(),
            version: version.into(),
            serial: serial(&registry, &keys, &app.name).await?,
            grants: app.spec.grants(),
        },
        git: app.revision().await,
    };
    let mut made = 0;
    for manifest in &family {
        for format in options.format.list() {
            made += u32::from(signing.sign(manifest, *format).await?);
        }
    }
    if made == 0 {
        log::info("already signed by this key");
    }
    println!("{}@{digest}", image.repository);
    Ok(())
}

struct Signing<'a> {
    registry: &'a Registry,
    keys: &'a Keys,
    signer: &'a Signer,
    image: &'a ImageRef,
    annotations: Annotations,
    git: Option<String>,
}

impl Signing<'_> {
    /// Signs one manifest and fetches the signature back. Says whether there
    /// was anything to sign.
    async fn sign(&self, manifest: &Manifest, format: Format) -> Result<bool> {
        let (registry, keys, digest) = (self.registry, self.keys, &manifest.digest);
        match registry.verified(keys, digest, &[format]).await {
            Ok(verified) if self.states(&verified) => return Ok(false),
            Ok(_) | Err(Error::Unsigned(_) | Error::Untrusted(_)) => {}
            Err(error) => return Err(registry_error(error)),
        }
        let name = ImageRef {
            digest: None,
            ..self.image.clone()
        };
        let mut draft = Draft::new(format, &name, digest, &self.annotations);
        if let Some(git) = &self.git {
            draft = draft.stating(annotation::GIT, git);
        }
        let signature = self.signer.sign(&draft.to_sign()).await?;
        let signed = draft.signed(signature);
        let itself = check(
            keys,
            registry.repository(),
            digest,
            std::slice::from_ref(&signed),
        );
        itself.map_err(|e| Failure::error(SIGNATURE, format_args!("the new signature: {e}")))?;
        let attached = registry.attach(keys, manifest, &signed).await;
        attached.map_err(registry_error)?;
        let verified = registry.verified(keys, digest, &[format]).await;
        let verified = verified.map_err(registry_error)?;
        if verified.annotations != self.annotations {
            let why = format!("{digest}: the registry gives another signature back");
            return Err(Failure::error(SIGNATURE, why));
        }
        let Annotations {
            app,
            version,
            serial,
            ..
        } = &verified.annotations;
        log::info(format_args!(
            "signed {} as {app} {version}, serial {serial}, by key {}",
            &digest.hex()[..12],
            &verified.signer[..16]
        ));
        Ok(true)
    }

    /// All but the serial, which a signature keeps.
    fn states(&self, verified: &Verified) -> bool {
        let (ours, theirs) = (&self.annotations, &verified.annotations);
        (&ours.app, &ours.version, &ours.grants) == (&theirs.app, &theirs.version, &theirs.grants)
    }
}

/// Higher than that of any other version, also by a clock that is slow.
async fn serial(registry: &Registry, keys: &Keys, app: &str) -> Result<u64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let mut serial = now;
    let tags = registry.tags().await.map_err(registry_error)?;
    let prefix = format!("{app}-");
    let ours = tags.into_iter().rev().filter(|t| t.starts_with(&prefix));
    for tag in ours.take(MOST) {
        let image = ImageRef {
            repository: registry.repository().clone(),
            tag: Some(tag),
            digest: None,
        };
        let manifest = registry.resolve(&image).await.map_err(registry_error)?;
        // One without a signature of ours has no serial.
        let verified = registry
            .verified(keys, &manifest.digest, &[Format::V2, Format::V3])
            .await;
        if let Ok(verified) = verified {
            if verified.annotations.app == app {
                serial = serial.max(verified.annotations.serial + 1);
            }
        }
    }
    if serial > now {
        log::warn(format_args!(
            "this clock is behind an earlier signature: serial {serial} follows that"
        ));
    }
    Ok(serial)
}

/// Grants go into the signature only when somebody has seen them.
fn confirm(app: &App, source: Option<&ImageRef>, yes: bool) -> Result<()> {
    let grants = app.spec.grants();
    if let Some(source) = source {
        log::info(format_args!("{} is {source}", app.name));
    }
    if grants.is_empty() {
        return Ok(());
    }
    log::info(format_args!(
        "{} asks for grants: {}",
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
