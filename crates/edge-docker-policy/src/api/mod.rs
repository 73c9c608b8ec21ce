//! Requests to the engine's API: those that pass, and those that need a ticket.

pub mod exec;
pub mod key;
pub mod rules;
mod uri;
