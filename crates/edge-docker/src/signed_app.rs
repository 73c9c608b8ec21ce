//! Apps that run by their signed run specification: the settings of the container are
//! those that the signer stated, and nobody on the device adds to them.

use std::fs;

use anyhow::{Context, Result};
use edge_common::Root;
use edge_common::contract::label;
use edge_common::identity::DeviceConfig;
use edge_common::level::{Level, RunMode};
use edge_docker_policy::cli::levels::SignedForm;
use edge_docker_policy::cli::request::Request;
use edge_docker_policy::refusal::refuse;
use edge_docker_policy::run_spec::{DeviceNames, RunSpec};
use edge_signature::{Digest, Verified};

use crate::break_glass;
use crate::engine::containers::Container;
use crate::image::identify::{self, Image};
use crate::trust::Trust;

/// File with the serial number of the board.
const SERIAL: &str = "/proc/device-tree/serial-number";
/// Size limit of the serial number in bytes.
const MAX_SERIAL_BYTES: usize = 64;

/// Signed image with its run specification.
pub(crate) struct SignedApp {
    /// Verified image.
    pub(crate) image: Image,
    /// Run specification, as the signer stated it.
    pub(crate) spec: RunSpec,
    /// Image reference in the trusted repository.
    pub(crate) reference: String,
}

impl SignedApp {
    /// Identifies the image of `form`, which may be `APP-VERSION` alone, and reads its run
    /// specification. Pulls the image if necessary.
    pub(crate) async fn find(root: &Root, trust: &Trust, form: &SignedForm<'_>) -> Result<Self> {
        let (name, _) = form.image.split_once('@').unwrap_or((form.image, ""));
        let reference = match name.contains(['/', ':']) {
            true => form.image.to_string(),
            false => format!("{}:{}", trust.repository, form.image),
        };
        let image = identify::find(root, trust, &reference, form.allow_downgrade).await?;
        break_glass::require_app(image.identity.app())?;
        let spec = specification(&image)?;
        Ok(Self {
            image,
            spec,
            reference,
        })
    }

    /// Returns the app of a verified signature, whose image has the ID `id`.
    pub(crate) fn of(trust: &Trust, verified: Verified, id: &Digest) -> Result<Self> {
        let annotations = &verified.annotations;
        let (app, version) = (&annotations.app, &annotations.version);
        let reference = format!("{}:{app}-{version}", trust.repository);
        let image = Image {
            identity: identify::signed_identity(&verified),
            id: id.to_string(),
            user: String::new(),
            verified: Some(verified),
        };
        let spec = specification(&image)?;
        Ok(Self {
            image,
            spec,
            reference,
        })
    }

    /// Returns the request of the app's container; with `detach` it starts in the
    /// background.
    pub(crate) fn request(&self, root: &Root, detach: bool) -> Result<Request> {
        let (directory, names) = (self.image.identity.directory(), device_names(root));
        match detach {
            true => self.spec.request(&self.reference, &directory, &names),
            false => self
                .spec
                .attached_request(&self.reference, &directory, &names),
        }
    }

    /// Refuses an existing container that was not created from this specification.
    pub(crate) fn require_same(&self, existing: &Container) -> Result<()> {
        let run = self.digest().map(Digest::as_str);
        let digest = self.image.verified.as_ref().map(|v| v.digest.as_str());
        if existing.label(label::RUN) == run && existing.label(label::DIGEST) == digest {
            return Ok(());
        }
        let app = &self.spec.app;
        Err(refuse(format_args!(
            "a container {app} of another version or with other settings exists: edge-docker \
             replace APP-VERSION deploys in its place"
        )))
    }

    /// Returns the digest of the run specification, the value of the label `edge.run`.
    pub(crate) fn digest(&self) -> Option<&Digest> {
        self.image.verified.as_ref()?.annotations.run.as_ref()
    }
}

/// Returns the run specification of a verified image; refuses an image without one.
pub(crate) fn specification(image: &Image) -> Result<RunSpec> {
    let app = image.identity.app();
    let bytes = image.verified.as_ref().and_then(|v| v.run.as_deref());
    let Some(bytes) = bytes else {
        return Err(refuse(format_args!(
            "{app} has no signed run specification: push the image again with edge-app push, \
             which signs one"
        )));
    };
    let spec = RunSpec::parse(bytes).with_context(|| format!("run specification of {app}"))?;
    // The signature of one app may not start the container of another.
    if spec.app != app {
        return Err(refuse(format_args!(
            "{app} is refused: its run specification is that of {:?}",
            spec.app
        )));
    }
    Ok(spec)
}

/// Refuses options, commands and unsigned images where the policy of the device demands
/// the settings that were signed.
/// A ticket for the app lifts this for signed images.
pub(crate) fn require_typed_run(root: &Root, trust: &Trust, image: Option<&Image>) -> Result<()> {
    let is_lifted = || match image {
        Some(Image {
            identity,
            verified: Some(_),
            ..
        }) => break_glass::permits(root, identity.app(), false),
        Some(_) => false,
        // Which app it is, is not yet known.
        None => break_glass::current(root).is_some_and(|t| t.level >= Level::Debug),
    };
    match trust.run {
        RunMode::Any => Ok(()),
        RunMode::Signed if is_lifted() => Ok(()),
        RunMode::Signed => Err(refuse(
            "options, commands and unsigned images are refused: this device runs apps exactly as \
             they were signed; edge-docker run APP-VERSION",
        )),
    }
}

/// Refuses a container of a signed app that holds grants, if its settings are not the
/// signed ones. `held` are the options that need a grant.
/// A ticket that names the app lifts this.
pub(crate) fn require_no_grants(root: &Root, image: &Image, held: &[String]) -> Result<()> {
    let (Some(verified), [first, ..]) = (&image.verified, held) else {
        return Ok(());
    };
    if break_glass::permits(root, &verified.annotations.app, true) {
        return Ok(());
    }
    // With options of their own choice, callers would use the grant for another purpose
    // than the signer meant: an entry point with the grant `vpn` changes the host's
    // network.
    let annotations = &verified.annotations;
    let form = format!(
        "edge-docker run {}-{}",
        annotations.app, annotations.version
    );
    let next = match annotations.run {
        Some(_) => form,
        None => format!("push the image again with edge-app push, then {form}"),
    };
    Err(refuse(format_args!(
        "{first} is refused with options: a container that holds grants takes only what was \
         signed; {next}"
    )))
}

/// Returns the names of this device for the placeholders of a run specification.
fn device_names(root: &Root) -> DeviceNames {
    let serial = fs::read(root.path(SERIAL)).unwrap_or_default();
    let serial = String::from_utf8(serial).unwrap_or_default();
    let serial = serial.trim_end_matches(['\0', '\n']);
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let valid = (1..=MAX_SERIAL_BYTES).contains(&serial.len()) && serial.chars().all(is_plain);
    DeviceNames {
        // The file is on `/data`, but the name only fills values of the signer's choice,
        // and its form is checked.
        thing: DeviceConfig::load(root).ok().map(|c| c.thing_name),
        serial: valid.then(|| serial.to_string()),
    }
}
