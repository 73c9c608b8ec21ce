//! Devices: the ssh connection, the apps on them, and work on several at once.

pub(crate) mod apps;
pub(crate) mod rollout;
pub(crate) mod ssh;
pub(crate) mod targets;
