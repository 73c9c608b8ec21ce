//! The container engine: its API, its containers, and docker's client.

pub mod attach;
pub mod client;
pub mod containers;
pub mod docker_cli;
pub mod signals;
pub mod streams;
