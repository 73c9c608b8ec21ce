//! Docker's command line: its grammar, its options and commands, and their values.

pub mod args;
pub mod commands;
pub mod options;
pub mod request;
pub mod values;
