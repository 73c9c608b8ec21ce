//! Release sets that edge-docker has proved.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, bail};
use edge_common::Root;
use edge_common::command::Completed;
use edge_signature::set::ReleaseSet;
use serde::Deserialize;
use serde_json::Value;

use super::docker::{self, Outcome};
use crate::converge::{Deployed, Obstacle, Plan, Planned, Refused, Window};
use crate::login::Source;

/// Time limit of fetching and proving a set.
const TAKE: Duration = Duration::from_secs(300);
/// Time limit of proving a kept set.
const SHOW: Duration = Duration::from_secs(60);

/// Output of `edge-docker set … --json`.
#[derive(Deserialize)]
struct Document {
    set: ReleaseSet,
    floor: u64,
}

/// Output of a refused set.
#[derive(Deserialize)]
struct Refusal {
    refused: String,
    message: String,
}

/// Returns the plan of a set.
pub(crate) fn plan(set: &ReleaseSet) -> Plan {
    let planned = set.ordered().into_iter().map(|app| Planned {
        app: app.name.clone(),
        deployed: Deployed {
            digest: app.digest.to_string(),
            version: app.version.clone(),
        },
    });
    let window = set.window.as_ref().map(|window| Window {
        day: window.day,
        start: window.start,
        minutes: window.minutes,
    });
    Plan {
        name: set.name.clone(),
        number: set.serial,
        apps: planned.collect(),
        remove: set.remove.clone(),
        window,
        settle: set.settle.into(),
    }
}

/// Sets that were proved in this run, by digest; `None` for one that is not proved.
#[derive(Debug, Default)]
pub(crate) struct Sets(BTreeMap<String, Option<ReleaseSet>>);

impl Sets {
    /// Returns the plans of the proved sets.
    pub(crate) fn plans(&self) -> BTreeMap<String, Plan> {
        let proved = self.0.iter();
        proved
            .filter_map(|(digest, set)| Some((digest.clone(), plan(set.as_ref()?))))
            .collect()
    }

    /// Returns a proved set.
    pub(crate) fn get(&self, digest: &str) -> Option<&ReleaseSet> {
        self.0.get(digest)?.as_ref()
    }

    /// Proves a kept set, once in each run.
    ///
    /// # Errors
    /// edge-docker did not answer: the set may be proved or not.
    pub(crate) fn prove(&mut self, root: &Root, digest: &str) -> Result<()> {
        if !self.0.contains_key(digest) {
            let shown = show(root, digest)?.ok().map(|document| document.set);
            self.0.insert(digest.into(), shown);
        }
        Ok(())
    }

    /// Fetches and proves a set. A kept one serves without a network if `kept` permits it.
    ///
    /// # Errors
    /// edge-docker cannot be started.
    pub(crate) fn take(
        &mut self,
        root: &Root,
        logins: &mut Source,
        set: &str,
        repository: &str,
        kept: bool,
    ) -> Result<Result<Plan, Obstacle>> {
        self.0.remove(set);
        let mut taken = take(root, logins, set, repository)?;
        if let (Err(Obstacle::Offline(_)), true) = (&taken, kept)
            && let Ok(document) = show(root, set)?
        {
            taken = not_below_floor(document);
        }
        let taken = match taken {
            Ok(document) => document.set,
            Err(obstacle) => return Ok(Err(obstacle)),
        };
        let plan = plan(&taken);
        if !taken.is_revocation_list() {
            self.0.insert(set.into(), Some(taken));
        }
        Ok(Ok(plan))
    }
}

fn not_below_floor(document: Document) -> Result<Document, Obstacle> {
    let (number, floor) = (document.set.serial, document.floor);
    if number >= floor {
        return Ok(document);
    }
    Err(Obstacle::Refused(Refused {
        rule: "floor".into(),
        message: format!("number {number} is below {floor}, which this device has committed"),
    }))
}

fn take(
    root: &Root,
    logins: &mut Source,
    set: &str,
    repository: &str,
) -> Result<Result<Document, Obstacle>> {
    let login = match logins.of(repository, set) {
        Ok(login) => login,
        Err(obstacle) => return Ok(Err(obstacle)),
    };
    let reference = format!("{repository}@{set}");
    let args = ["set", "take", &reference, "--json"];
    let completed = docker::run_with_login(root, &args, login, TAKE)?;
    Ok(match docker::outcome(&completed) {
        Outcome::Done => serde_json::from_str(&completed.stdout).map_err(|error| {
            Obstacle::Refused(Refused {
                rule: "form".into(),
                message: format!("this device cannot read the set: {error}"),
            })
        }),
        Outcome::Refused => Err(Obstacle::Refused(refused(&completed))),
        _ => {
            logins.forget();
            Err(Obstacle::Offline(completed.summary()))
        }
    })
}

/// Returns the refusal that edge-docker printed.
pub(crate) fn refused(completed: &Completed) -> Refused {
    let printed = serde_json::from_str::<Refusal>(&completed.stdout);
    match printed {
        Ok(printed) => Refused {
            rule: printed.refused,
            message: printed.message,
        },
        Err(_) => Refused {
            rule: "refused".into(),
            message: completed.summary(),
        },
    }
}

/// Proves a kept set.
fn show(root: &Root, digest: &str) -> Result<Result<Document, String>> {
    let completed = docker::run(root, &["set", "show", digest, "--json"], SHOW)?;
    match docker::outcome(&completed) {
        Outcome::Done => {
            let document = serde_json::from_str(&completed.stdout);
            Ok(document.map_err(|error| format!("this device cannot read the set: {error}")))
        }
        Outcome::Refused => Ok(Err(completed.summary())),
        _ => bail!("proving the release set {digest}: {}", completed.summary()),
    }
}

/// Returns name and number of a kept set.
///
/// # Errors
/// The set is not kept here, or is proved no more.
pub(crate) fn kept(root: &Root, digest: &str) -> Result<Result<(String, u64), String>> {
    let shown = show(root, digest)?;
    Ok(shown.map(|document| (document.set.name, document.set.serial)))
}

/// Raises the floor of edge-docker to the number of a set.
///
/// # Errors
/// The floor is not raised; the next run tries again.
pub(crate) fn commit(root: &Root, digest: &str) -> Result<()> {
    let completed = docker::run(root, &["set", "commit", digest, "--json"], SHOW)?;
    let is_higher = || {
        let printed: Value = serde_json::from_str(&completed.stdout).unwrap_or_default();
        printed["refused"] == "floor"
    };
    // A person may have committed a later set meanwhile.
    if completed.success() || is_higher() {
        return Ok(());
    }
    bail!("committing the release set: {}", completed.summary())
}
