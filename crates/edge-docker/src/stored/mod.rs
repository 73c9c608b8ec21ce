//! Stored containers: their audit before the engine starts, and fsck of their layers.

pub(crate) mod audit;
pub(crate) mod created;
mod disk;
mod files;
pub(crate) mod fsck;
mod fsck_layer;
mod layers;
mod quarantine;
mod state;
