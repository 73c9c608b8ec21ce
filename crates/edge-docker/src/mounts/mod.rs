//! Access to the directories of apps: mount clones, `--env-file` and `sync`.

pub(crate) mod beneath;
pub(crate) mod clones;
pub(crate) mod collect;
pub(crate) mod content;
mod current;
pub(crate) mod env_file;
pub(crate) mod owners;
pub(crate) mod sync;
mod unit_variables;
mod walk;
