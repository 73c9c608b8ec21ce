//! Loop that brings the device to the apps of a signed release set.

pub mod converge;
pub mod credentials;
pub mod jobs;
mod reference;
pub mod report;
pub mod state;
