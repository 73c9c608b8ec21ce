//! Requests to the API of the engine: those that are permitted to everybody, and those
//! that need a ticket.

pub mod exec;
pub mod key;
pub mod rules;
mod uri;
