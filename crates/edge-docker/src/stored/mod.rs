//! Data that the engine has stored: audit of containers before the engine starts, and
//! `fsck` of image layers.

pub(crate) mod audit;
pub(crate) mod created;
mod disk;
mod files;
pub(crate) mod fsck;
mod fsck_layer;
mod layers;
mod quarantine;
mod reserve;
mod state;
