//! Links with a delay and a rate, which make a distant network of this machine.

pub(crate) mod stdio;
pub(crate) mod tcp;
