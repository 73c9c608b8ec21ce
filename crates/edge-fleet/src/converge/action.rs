//! Actions of the loop.

use super::disk::{Candidate, Deployed, Repairs, Results, Standing};
use super::input::Purpose;

/// Next action of a run. Each is one durable step: a power loss may come between any two,
/// and after it the same action or a later one follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Write a state file.
    Save(Save),
    /// Fetch and prove a set.
    Take {
        /// Digest of the set.
        set: String,
        /// Repository of the set.
        repository: String,
    },
    /// Compare the requirements of a set with the device.
    Check {
        /// Digest of the set.
        set: String,
    },
    /// Pull the image of an app.
    Fetch {
        /// Digest of the set that names it.
        set: String,
        /// App.
        app: String,
        /// Version.
        version: Deployed,
    },
    /// Replace an app.
    Replace {
        /// App.
        app: String,
        /// Version.
        version: Deployed,
        /// Digest of the set that names it; `None` for a version that was deployed by hand.
        set: Option<String>,
        /// Purpose.
        purpose: Purpose,
    },
    /// Stop and remove an app; its data stay.
    Remove {
        /// App.
        app: String,
        /// Purpose.
        purpose: Purpose,
    },
    /// Raise the floor of edge-docker to a set.
    Raise {
        /// Digest of the set.
        set: String,
    },
    /// Wait in this run, and look again.
    Wait {
        /// Seconds.
        seconds: u64,
    },
    /// End the run: a change of an input or the timer starts the next one.
    Rest(Rest),
}

/// Content of a state file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Save {
    /// `standing.json`
    Standing(Standing),
    /// `candidate.json`; `None` removes it.
    Candidate(Option<Box<Candidate>>),
    /// `results.json`
    Results(Results),
    /// `repairs.json`
    Repairs(Repairs),
}

/// Reason for which a run ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Rest {
    /// Nothing is left to do.
    Idle,
    /// Registry or cloud do not answer.
    Offline,
    /// A person changed these apps by hand.
    Held(Vec<String>),
    /// The maintenance window is closed.
    Window,
    /// These apps do not run the version of the standing set; the repair waits.
    Drift(Vec<String>),
}
