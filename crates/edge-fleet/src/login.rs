//! Login of the registry for the commands of edge-docker that connect to it.

use std::time::Duration;

use edge_common::{Root, log};

use crate::converge::Obstacle;
use crate::registry_login::{Login, Logins};

/// Time limit of a login, repetitions included.
const LIMIT: Duration = Duration::from_secs(60);

/// Logins of a run.
pub(crate) struct Source(Logins);

impl Source {
    /// Creates a source; nothing is read or sent.
    pub(crate) fn new(root: &Root) -> Self {
        Self(Logins::new(root))
    }

    /// Returns the login for a set; `None` if edge-docker uses the one that it keeps.
    ///
    /// # Errors
    /// There is no login now. That says nothing about the set, so a later run tries again.
    pub(crate) fn of(&mut self, repository: &str, set: &str) -> Result<Option<&Login>, Obstacle> {
        let reference = format!("{repository}@{set}");
        self.0.of_set(&reference, LIMIT).map_err(|error| {
            log::error(format_args!("{error}"));
            Obstacle::Offline(error.to_string())
        })
    }

    /// Forgets the login: the registry may have rejected it.
    pub(crate) fn forget(&mut self) {
        self.0.forget();
    }
}
