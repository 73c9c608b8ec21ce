//! Content of `app.yaml`, and its conversion to a run specification.

mod read;
mod run;

use std::collections::BTreeMap;

use edge_docker_policy::run_spec::RunSpec;

use crate::values::mapping::Mapping;
use crate::values::volume::Volume;
use crate::yaml::{Place, Problem, parse_tree};

pub use run::{options_of, settings_of};

/// Parsed `app.yaml`: the settings with which an app runs on a device.
pub struct Spec {
    run: RunSpec,
    /// Directories of the app's data that are mounted into the container.
    pub volumes: Vec<Volume>,
    /// Files that `edge-app sandbox` copies to the device.
    pub sync: Vec<Mapping>,
    warnings: Vec<String>,
    /// Positions of the keys, for messages about the whole.
    places: BTreeMap<&'static str, Place>,
    file: String,
}

/// Reader of a file beside `app.yaml`, for `env_file`: returns `None` for an absent file,
/// and the reason if a file cannot be read.
pub type ReadFile<'r> = dyn Fn(&str) -> Result<Option<String>, String> + 'r;

impl Spec {
    /// Parses an `app.yaml`; `read` returns the content of a file beside it.
    ///
    /// # Errors
    /// Each line of the text names a mistake, and begins with `FILE:LINE:COLUMN:`, where
    /// FILE is the file name `file`.
    pub fn parse(text: &str, file: &str, read: &ReadFile<'_>) -> Result<Self, String> {
        let lines = |problems: Vec<Problem>| {
            let lines: Vec<_> = problems.iter().map(|p| at(file, p)).collect();
            lines.join("\n")
        };
        let tree = parse_tree(text).map_err(|problem| at(file, &problem))?;
        read::Reader::new(read).spec(&tree, file).map_err(lines)
    }

    /// Returns the name of the app, which is also the name of its container.
    pub fn name(&self) -> &str {
        &self.run.app
    }

    /// Returns the names of the requested grants, in the order of `app.yaml`.
    pub fn grants(&self) -> Vec<String> {
        self.run.grants.clone()
    }

    /// Returns the grants that the signer accepts although they amount to root on the
    /// device.
    pub fn root_grants(&self) -> &[String] {
        &self.run.root
    }

    /// Returns what somebody should know before the app is signed, each line beginning
    /// with `FILE:LINE:COLUMN:`.
    pub fn warnings(&self) -> &[String] {
        &self.warnings
    }

    /// Returns a message about the key `key`, beginning with `FILE:LINE:COLUMN:` if
    /// `app.yaml` has the key, else with `FILE:`.
    pub fn message_at(&self, key: &str, text: &str) -> String {
        match self.places.get(key) {
            Some(place) => at(&self.file, &Problem::new(*place, text)),
            None => format!("{}: {text}", self.file),
        }
    }
}

/// Returns a problem in the form in which compilers print it, so that an editor jumps to
/// it.
fn at(file: &str, problem: &Problem) -> String {
    let Place { line, column } = problem.place;
    let text: String = problem.text.chars().take(MAX_MESSAGE).collect();
    format!("{file}:{line}:{column}: {text}")
}

/// Limit of letters in a message, which repeats a value.
const MAX_MESSAGE: usize = 400;

#[cfg(test)]
mod tests;
