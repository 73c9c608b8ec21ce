//! Tables, JSON and progress for people and programs.

pub(crate) mod progress;
pub(crate) mod table;
