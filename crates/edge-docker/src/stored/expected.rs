//! Container that the signed run specification of an app describes, for the comparison
//! with a stored one.

use anyhow::{Context, Result};
use edge_common::Root;
use edge_docker_policy::mounts::CloneRecord;
use edge_docker_policy::stored::signed;
use serde_json::Value;

use super::fault::Fault;
use crate::device_groups::{self, Groups};
use crate::plan;
use crate::signed_app::SignedApp;

/// Container as it was signed.
pub(super) struct Expected {
    /// Create bodies, without the groups of devices: of a container that was started in
    /// the background, and of one to which the caller was attached.
    bodies: [Value; 2],
    references: Vec<String>,
    groups: Groups,
    /// Record of the mount clones.
    pub(super) clones: CloneRecord,
}

impl Expected {
    /// Returns the container of `app` with the mount clones of `key`.
    pub(super) fn of(root: &Root, app: &SignedApp, key: &str) -> Result<Self, Fault> {
        let requests = [true, false].map(|detach| app.request(root, detach));
        let mut bodies = Vec::new();
        let mut host = None;
        for request in requests {
            // A name of the device is not there, for example while its identity cannot be
            // read.
            let request = request.map_err(|e| Fault::Unreadable(format!("{e:#}")))?;
            let plan = plan::signed(root, app, request, key).map_err(|e| Fault::of(&e))?;
            bodies.push(serde_json::to_value(&plan.body).map_err(|e| e.to_string())?);
            host = Some((plan.body.host_config, plan.below));
        }
        let (host, below) = host.ok_or("no create body")?;
        let bodies = <[Value; 2]>::try_from(bodies).map_err(|_| "no create body")?;
        let reference = &app.reference;
        let repository = reference.rsplit_once(':').map_or("", |(name, _)| name);
        let digest = app.image.verified.as_ref().map(|v| v.digest.to_string());
        let digest = digest.unwrap_or_default();
        Ok(Self {
            bodies,
            references: vec![
                reference.clone(),
                format!("{reference}@{digest}"),
                format!("{repository}@{digest}"),
            ],
            groups: device_groups::of(root, &host),
            clones: CloneRecord {
                directory: app.image.identity.directory(),
                below,
            },
        })
    }

    /// Checks that the recorded create request is the expected one.
    pub(super) fn compare(&self, record: &Value) -> Result<(), String> {
        let groups: Vec<String> = self.groups.numbers.iter().map(u32::to_string).collect();
        let mut verdicts = self.bodies.iter().map(|body| {
            signed::check(
                record,
                &signed::Expected {
                    body,
                    references: &self.references,
                    groups: &groups,
                    has_unknown_groups: self.groups.is_partial,
                },
            )
        });
        let first = verdicts.next().unwrap_or(Ok(()));
        match first {
            Err(_) if verdicts.any(|verdict| verdict.is_ok()) => Ok(()),
            verdict => verdict,
        }
    }

    /// Returns the body of the create request that recreates the container.
    pub(super) fn body(root: &Root, app: &SignedApp, key: &str) -> Result<(Value, Vec<String>)> {
        let mut plan = plan::signed(root, app, app.request(root, true)?, key)?;
        device_groups::add(root, &mut plan.body.host_config);
        let body = serde_json::to_value(&plan.body).context("writing the create body")?;
        Ok((body, plan.below))
    }
}
