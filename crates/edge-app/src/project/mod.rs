//! Project directory on the laptop: configuration, apps, registry and signing key.

pub(crate) mod app;
pub(crate) mod config;
mod docker_login;
mod git;
pub(crate) mod init;
pub(crate) mod registry;
pub(crate) mod signed_run;
pub(crate) mod signing;
