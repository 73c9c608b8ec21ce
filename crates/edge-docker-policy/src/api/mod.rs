//! Requests to the engine's API: which pass, and which need a ticket of edge-docker.

pub mod exec;
pub mod key;
pub mod rules;
pub mod uri;
