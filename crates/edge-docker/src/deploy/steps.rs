//! Steps of a deployment on standard output, from where edge-app forwards them.

use std::fmt::Display;
use std::io::Write as _;

use edge_common::contract::deployment::STEP;
use edge_common::contract::label;
use edge_common::log::printable;

use crate::engine::containers::Container;

/// Prints that a step begins or has ended.
pub(super) fn step(text: impl Display) {
    // The reader may be gone with its connection, which is no reason to stop.
    let _ = writeln!(std::io::stdout(), "{STEP}{}", printable(&text.to_string()));
}

/// Returns the app of a container and its version, for example `hello v2`.
pub(super) fn title(name: &str, container: &Container) -> String {
    match container.label(label::VERSION) {
        Some(version) => format!("{name} {version}"),
        None => name.into(),
    }
}
