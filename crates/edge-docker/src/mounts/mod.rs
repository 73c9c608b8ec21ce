//! Directories of apps: clones of their mounts, and the files in them.

mod beneath;
pub(crate) mod clones;
pub(crate) mod collect;
pub(crate) mod env_file;
pub(crate) mod sync;
