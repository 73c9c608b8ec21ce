//! Simulated network links with a delay and a limited rate.

pub(crate) mod stdio;
pub(crate) mod tcp;
