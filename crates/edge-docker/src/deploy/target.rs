//! Container that a deployment creates: by the signed run specification of an app, or by
//! the options of the caller.

use std::time::Duration;

use anyhow::Result;
use edge_common::Root;
use edge_docker_policy::cli::levels;
use edge_docker_policy::cli::request::{self, Request};

use super::arguments::{parse_head, require_app_name, trial_time};
use super::check;
use crate::create::{self, Permitted};
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
    /// Parses the arguments of `replace`: `APP-VERSION [--timeout SECS] [--force]`, or
    /// `NAME [--timeout SECS] [--force] OPTIONS IMAGE …`.
    pub(super) async fn parse(root: &Root, args: &[&str]) -> Result<Self> {
        let trust = trust::load(root)?;
        let Some(form) = levels::signed_form(args, trust.run) else {
            let head = parse_head("replace", args)?;
            let request = request::parse(head.rest)?;
            check(head.name, &request)?;
            return Ok(Self {
                name: head.name.into(),
                limit: head.limit,
                force: head.force,
                request,
                app: None,
            });
        };
        let limit = trial_time(form.timeout)?;
        let app = SignedApp::find(root, &trust, &form).await?;
        require_app_name("replace", &app.spec.app)?;
        Ok(Self {
            name: app.spec.app.clone(),
            limit,
            force: form.force,
            request: app.request(root, true)?,
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
