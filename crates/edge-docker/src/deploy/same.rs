//! Comparison of the container that is about to be deployed with the one that runs. A
//! repeated deployment, for example by a CI job, changes nothing, and never takes the
//! place of the version to which a rollback returns.

use std::time::Duration;

use anyhow::{Context, Result};
use edge_common::contract::label;
use edge_common::{Root, time};
use serde_json::Value;

use super::health::Watch;
use crate::create::Permitted;
use crate::engine::containers::Container;
use crate::mounts::clones;
use crate::stored::created;

/// Relation of the current container to the one that is about to be deployed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Relation {
    /// Another version, or other settings.
    Other,
    /// The same signed version, which this device would start differently today, for
    /// example with another table of grants.
    SameVersion,
    /// The same image and the same settings.
    Equal,
}

/// Compares the container that the policy permits with the current one. A record that
/// cannot be read counts as another one.
pub(super) fn relation(
    root: &Root,
    permitted: &Permitted,
    current: Option<&Container>,
) -> Result<Relation> {
    let Some(current) = current else {
        return Ok(Relation::Other);
    };
    let new = permitted.body()?;
    if is_equal(root, permitted, &new, current).unwrap_or(false) {
        return Ok(Relation::Equal);
    }
    let labels = &new["Labels"];
    let is_same = |key| {
        let value = labels[key].as_str().filter(|value| !value.is_empty());
        value.is_some() && value == current.label(key)
    };
    // Without a run specification the settings are the caller's, and other ones are as
    // good as another version.
    let is_same_version = [label::APP, label::VERSION, label::DIGEST, label::RUN]
        .into_iter()
        .all(is_same);
    Ok(match is_same_version {
        true => Relation::SameVersion,
        false => Relation::Other,
    })
}

/// Returns whether both containers have the same create request and the same mounts. The
/// key of the mount clones is a random one in each, and the reference of the image may be
/// a tag or a digest.
fn is_equal(root: &Root, permitted: &Permitted, new: &Value, current: &Container) -> Result<bool> {
    let Some(mut old) = created::find(root, &current.id)? else {
        return Ok(false);
    };
    let key = old["Labels"][label::MOUNTS].as_str().unwrap_or_default();
    let (new_key, record) = permitted.mounts();
    let text = new.to_string();
    let mut new: Value = match key {
        // Without mounts the body has no key.
        "" => serde_json::from_str(&text),
        key => serde_json::from_str(&text.replace(new_key, key)),
    }
    .context("comparing the create requests")?;
    let is_same_record = match key {
        "" => record.below.is_empty(),
        key => clones::record(root, key)? == record,
    };
    for body in [&mut old, &mut new] {
        if let Some(labels) = body.get_mut("Labels").and_then(Value::as_object_mut) {
            labels.remove(label::IMAGE);
        }
    }
    Ok(old == new && is_same_record)
}

/// Returns whether the current container works, so that it need not be replaced. Waits at
/// most `limit` for the result of a health check that has none yet.
pub(super) async fn works(
    root: &Root,
    watch: &mut Watch,
    current: Option<&Container>,
    limit: Duration,
) -> bool {
    let Some(current) = current else {
        return false;
    };
    if !current.state.running || current.state.restarting || current.state.paused {
        return false;
    }
    let started = time::parse(&current.state.started_at);
    let now = time::parse(&time::now());
    let uptime = started
        .zip(now)
        .and_then(|(start, now)| now.checked_sub(start));
    let uptime = Duration::from_secs(uptime.unwrap_or(0));
    watch
        .confirm(root, &current.id, uptime, limit)
        .await
        .is_ok()
}
