//! Parser of docker's command line: grammar, table of commands, options of `run`, and
//! values.

pub mod args;
mod client_values;
pub mod commands;
pub mod copy;
pub mod entry;
pub(crate) mod health;
pub mod help;
pub mod levels;
pub(crate) mod log_options;
pub(crate) mod memory_fs;
mod options;
mod ports;
pub(crate) mod quantities;
pub mod request;
pub mod streams;
pub mod users;
pub mod values;
