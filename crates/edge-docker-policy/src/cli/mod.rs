//! Docker's command line: its grammar, its commands and options, and their values.

pub mod args;
pub mod commands;
pub mod entry;
pub mod help;
mod options;
pub mod request;
pub mod values;
