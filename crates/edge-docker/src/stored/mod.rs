//! Stored containers: the boot audit, and fsck of layers.

pub mod audit;
pub mod created;
pub mod disk;
pub mod files;
pub mod fsck;
pub mod fsck_layer;
pub mod layers;
pub mod quarantine;
pub mod state;
