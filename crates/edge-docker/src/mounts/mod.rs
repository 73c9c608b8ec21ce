//! Directories of apps: clones of their mounts, and the files in them.

pub mod clones;
pub mod collect;
pub mod env_file;
pub mod sync;
