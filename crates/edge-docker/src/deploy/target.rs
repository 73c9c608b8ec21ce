//! Container that a deployment creates: by the signed run specification of an app, or by
//! the options of the caller.

use std::time::Duration;

use anyhow::Result;
use edge_common::Root;
use edge_common::contract::suffix;
use edge_docker_policy::cli::levels::{self, SignedForm};
use edge_docker_policy::cli::request::{self, Request};
use edge_docker_policy::refusal::refuse;

use super::arguments::{parse_head, require_app_name, trial_time};
use super::places::Places;
use crate::create::{self, Permitted};
use crate::set::Named;
use crate::signed_app::SignedApp;
use crate::trust;

/// Container to deploy, before its image is identified or its mounts are cloned.
pub(super) struct Target {
    /// Name of the app and of its container.
    pub(super) name: String,
    /// Time within which the new container has to work.
    pub(super) limit: Duration,
    /// Deployment although the same version runs (`--force`).
    pub(super) force: bool,
    /// Settings of the container.
    pub(super) request: Request,
    /// App whose run specification the request states; `None` for typed options.
    app: Option<SignedApp>,
}

impl Target {
    /// Parses the arguments of `replace`: `[--set HEX] APP-VERSION [--timeout SECS] [--force]`,
    /// or
    /// `NAME [--timeout SECS] [--force] OPTIONS IMAGE …`.
    pub(super) async fn parse(root: &Root, args: &[&str]) -> Result<Self> {
        let trust = trust::load(root)?;
        let Some(form) = levels::signed_form(args, trust.run) else {
            let head = parse_head("replace", args)?;
            let request = request::parse(head.rest)?;
            super::check(head.name, &request)?;
            return Ok(Self {
                name: head.name.into(),
                limit: head.limit,
                force: head.force,
                request,
                app: None,
            });
        };
        let named = form.set.map(|set| Named::find(root, set, form.image));
        let named = named.transpose()?;
        let by_set = named.as_ref();
        let form = match by_set {
            None => form,
            Some(_) if form.allow_downgrade => {
                return Err(refuse("--set and --allow-downgrade exclude each other"));
            }
            // By its digest, and so that the commit notes a lower release number.
            Some(named) => SignedForm {
                image: &named.image,
                allow_downgrade: true,
                timeout: form.timeout.or(named.timeout.as_deref()),
                ..form
            },
        };
        let limit = trial_time(form.timeout)?;
        let app = SignedApp::find(root, &trust, &form).await?;
        if let (Some(named), Some(verified)) = (by_set, &app.image.verified) {
            named.require_same(verified)?;
        }
        require_app_name("replace", &app.spec.app)?;
        let mut request = app.request(root, true)?;
        request.allow_downgrade = form.allow_downgrade;
        Ok(Self {
            name: app.spec.app.clone(),
            limit,
            force: form.force,
            request,
            app: Some(app),
        })
    }

    /// Returns the container that the policy permits, or the refusal.
    pub(super) async fn permit(self, root: &Root) -> Result<Permitted> {
        match self.app {
            Some(app) => create::permit_signed(root, app, self.request),
            None => create::permit(root, self.request).await,
        }
    }
}

/// Carries out `replace --check …`: the policy decides as for a deployment, and no container
/// changes.
pub(super) async fn check(root: &Root, args: &[&str]) -> Result<()> {
    let mut target = Target::parse(root, args).await?;
    let name = target.name.clone();
    let places = Places::find(root, &name).await?;
    target.request.name = format!("{name}{}", suffix::NEXT);
    let permitted = target.permit(root).await?;
    places.require_app(permitted.app())?;
    println!("{name} may be replaced");
    Ok(())
}
