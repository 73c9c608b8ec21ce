//! Devices: selection on the command line, ssh connection, queries of their apps, and
//! parallel work on several devices.

pub(crate) mod apps;
mod known_names;
mod options;
pub(crate) mod rollout;
pub(crate) mod ssh;
pub(crate) mod targets;
