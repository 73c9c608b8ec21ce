//! Commands and their dispatch.

pub mod explain;
pub mod help;
pub mod passthrough;
