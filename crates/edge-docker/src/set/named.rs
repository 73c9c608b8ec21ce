//! Version of an app that a release set names.

use anyhow::Result;
use edge_common::{Root, log};
use edge_docker_policy::refusal::refuse;
use edge_signature::Verified;
use edge_signature::set::{Reason, SetApp, SetRefusal};

use super::{Anchors, load, record, refused};

/// Version of an app that a release set names, for `pull --set` and `replace --set`.
pub(crate) struct Named {
    app: SetApp,
    set: String,
    /// Image as `APP-VERSION@DIGEST`.
    pub(crate) image: String,
    /// Time within which the app has to become healthy, in seconds.
    pub(crate) timeout: Option<String>,
}

impl Named {
    /// Verifies the set `name` from its kept bytes and finds the app with the tag
    /// `APP-VERSION`.
    pub(crate) fn find(root: &Root, name: &str, tag: &str) -> Result<Self> {
        let verified = load(root, &Anchors::load(root)?, name)?;
        let (set, record) = (&verified.set, record(root)?);
        // Otherwise any set of the past would be a permission to go back.
        if set.serial < record.floor {
            let (number, floor) = (set.serial, record.floor);
            let message =
                format!("number {number} is below {floor}, which this device has committed");
            let refusal = SetRefusal::new(Reason::Floor, message);
            return Err(refused(&verified.digest, refusal));
        }
        let app = set.apps.iter().find(|app| app.tag() == tag);
        let app = app.cloned().ok_or_else(|| {
            let tags: Vec<_> = set.apps.iter().map(SetApp::tag).collect();
            let (name, number, tags) = (&set.name, set.serial, tags.join(", "));
            refuse(format_args!(
                "{tag} is refused: set {name} {number} names {tags}"
            ))
        })?;
        Ok(Self {
            set: format!("{} {}", set.name, set.serial),
            image: format!("{tag}@{}", app.digest),
            timeout: app.timeout.map(|seconds| seconds.to_string()),
            app,
        })
    }

    /// Refuses an image whose own signature states something else than the set.
    pub(crate) fn require_same(&self, verified: &Verified) -> Result<()> {
        let (app, signed) = (&self.app, &verified.annotations);
        let wrong = if verified.digest != app.digest {
            format!("the digest {}", verified.digest)
        } else if (&signed.app, &signed.version) != (&app.name, &app.version) {
            format!("{} {}", signed.app, signed.version)
        } else if signed.release_number != app.serial {
            format!("release number {}", signed.release_number)
        } else if signed.run.as_ref() != Some(&app.run) {
            "another run specification".into()
        } else {
            log::info(format_args!(
                "{} {}: named by release set {}",
                app.name, app.version, self.set
            ));
            return Ok(());
        };
        Err(refuse(format_args!(
            "{} {} is refused: release set {} names another one than its own signature, which has \
             {wrong}",
            app.name, app.version, self.set
        )))
    }
}
