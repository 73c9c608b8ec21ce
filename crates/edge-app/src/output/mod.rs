//! Output of the commands: tables and JSON on standard output, progress on standard
//! error.

pub(crate) mod progress;
pub(crate) mod table;
