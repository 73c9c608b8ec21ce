//! Loop that brings the device to the apps of a signed release set.

pub mod cloud_config;
pub mod converge;
pub mod credentials;
pub mod jobs;
mod reference;
pub mod registry_login;
pub mod report;
pub mod secret;
pub mod state;
