//! Container images: built by docker, uploaded to the registry, sent to devices.

pub(crate) mod archive;
pub(crate) mod cache;
pub(crate) mod compression;
mod config_labels;
pub(crate) mod docker;
pub(crate) mod layer_filter;
pub(crate) mod mirror;
mod platform;
pub(crate) mod transfer;
pub(crate) mod upload;
