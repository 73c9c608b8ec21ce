//! Parser of docker's command line: grammar, table of commands, options of `run`, and
//! values.

pub mod args;
pub mod commands;
pub mod entry;
pub mod help;
pub mod levels;
mod options;
pub mod request;
pub mod streams;
pub mod values;
