//! Data that the engine has stored: audit of containers before the engine starts, and
//! `fsck` of image layers.

pub(crate) mod app_limits;
pub(crate) mod audit;
mod auditor;
pub(crate) mod created;
pub(crate) mod damage;
mod database;
pub(crate) mod disk;
mod expected;
mod fault;
pub(crate) mod files;
pub(crate) mod fsck;
pub(crate) mod images;
pub(crate) mod interrupted;
mod layer;
pub(crate) mod layer_check;
mod layers;
pub(crate) mod quarantine;
pub(crate) mod recreation;
pub(crate) mod remake;
pub(crate) mod replacement;
mod reserve;
mod state;
pub(crate) mod top_layers;
pub(crate) mod withheld;
