//! Access to the container engine: HTTP client of its API, operations on containers, and
//! docker's own client.

pub(crate) mod attach;
pub(crate) mod client;
pub(crate) mod containers;
pub(crate) mod create;
pub(crate) mod docker_cli;
pub(crate) mod error;
mod ports;
pub(crate) mod signals;
mod streams;
pub(crate) mod transfer;
