//! Device outside the state files: edge-docker's apps and release sets, and the commands
//! that change them.

mod apps;
mod changes;
mod docker;
mod open;
mod requirements;
mod sets;

use anyhow::Result;
use edge_common::Root;

use crate::converge::{Action, Disk, Done, Door, Obstacle, Plan, World};
use crate::login::Source;

pub(crate) use open::finish;
pub(crate) use sets::kept;

/// Device as this run knows it.
pub(crate) struct Device<'a> {
    root: &'a Root,
    apps: apps::Apps,
    sets: sets::Sets,
    logins: Source,
}

impl<'a> Device<'a> {
    /// Creates a device of which nothing is known yet.
    pub(crate) fn new(root: &'a Root) -> Self {
        Self {
            root,
            apps: apps::Apps::default(),
            sets: sets::Sets::default(),
            logins: Source::new(root),
        }
    }

    /// Reads the apps again, and proves the sets that the state names.
    ///
    /// # Errors
    /// edge-docker or the engine does not answer.
    pub(crate) fn world(&mut self, disk: &Disk) -> Result<World> {
        self.apps = apps::read(self.root)?;
        self.world_of(disk)
    }

    /// Returns the state with the apps that were read last.
    ///
    /// # Errors
    /// edge-docker does not answer.
    pub(crate) fn world_of(&mut self, disk: &Disk) -> Result<World> {
        let standing = disk.standing.iter().map(|standing| &standing.set);
        let candidate = disk.candidate.iter().map(|candidate| &candidate.set);
        for digest in standing.chain(candidate) {
            self.sets.prove(self.root, digest)?;
        }
        Ok(World {
            apps: self.apps.present.clone(),
            sets: self.sets.plans(),
        })
    }

    /// Carries out an action of edge-docker; `None` for one that is not its own.
    ///
    /// # Errors
    /// edge-docker cannot be started, or the floor is not raised.
    pub(crate) fn perform(
        &mut self,
        action: &Action,
        disk: &Disk,
        world: &World,
    ) -> Result<Option<Done>> {
        let root = self.root;
        // A set that an engineer brought is on the device already.
        let candidate = disk.candidate.as_ref();
        let kept = candidate.is_some_and(|candidate| candidate.door == Door::Command);
        let repository = candidate.map_or("", |candidate| &*candidate.repository);
        Ok(Some(match action {
            Action::Take { set, repository } => Done::Taken {
                set: set.clone(),
                result: (self.sets).take(root, &mut self.logins, set, repository, kept)?,
            },
            Action::Check { set } => Done::Checked {
                set: set.clone(),
                result: match self.sets.get(set) {
                    Some(set) => requirements::check(root, set, world),
                    None => return Ok(None),
                },
            },
            Action::Fetch { set, app, version } => Done::Fetched {
                app: app.clone(),
                digest: version.digest.clone(),
                result: {
                    let source = (&**set, repository);
                    changes::fetch(root, &mut self.logins, source, app, version, kept)?
                },
            },
            Action::Replace {
                app,
                version,
                set,
                purpose,
            } => {
                open::finish(root)?;
                let set = set.as_deref();
                let verdict = changes::replace(root, &self.apps, app, version, set, *purpose)?;
                Done::Changed {
                    app: app.clone(),
                    purpose: *purpose,
                    verdict,
                }
            }
            Action::Remove { app, purpose } => Done::Changed {
                app: app.clone(),
                purpose: *purpose,
                verdict: changes::remove(root, &self.apps, app)?,
            },
            Action::Raise { set } => {
                sets::commit(root, set)?;
                Done::Raised { set: set.clone() }
            }
            Action::Save(_) | Action::Wait { .. } | Action::Rest(_) => return Ok(None),
        }))
    }
}

/// Returns whether an action found no registry or cloud.
pub(crate) fn is_offline(done: &Done) -> bool {
    let offline = |obstacle: &Obstacle| matches!(obstacle, Obstacle::Offline(_));
    match done {
        Done::Taken { result, .. } => result.as_ref().err().is_some_and(offline),
        Done::Fetched { result, .. } => result.as_ref().err().is_some_and(offline),
        Done::Checked { .. } | Done::Changed { .. } | Done::Raised { .. } => false,
    }
}

/// Returns whether a set waits for a window.
pub(crate) fn has_window(world: &World) -> bool {
    world.sets.values().any(|plan: &Plan| plan.window.is_some())
}
