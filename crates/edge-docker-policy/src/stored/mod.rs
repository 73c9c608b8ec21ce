//! Stored containers: the files that the engine keeps of a container and trusts.

pub mod compare;
pub mod config;
pub mod container;
pub mod host_config;
pub mod policy;
