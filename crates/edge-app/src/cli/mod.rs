//! Command line of edge-app: the arguments, and shell completions and man pages that are
//! generated from their definition.

pub(crate) mod args;
pub(crate) mod group;
pub(crate) mod network;
pub(crate) mod os;
pub(crate) mod output;
pub(crate) mod pages;
pub(crate) mod release;
pub(crate) mod rollout;
pub(crate) mod ticket;
