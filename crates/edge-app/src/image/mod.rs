//! Container images: built by docker, uploaded to the registry, sent to devices.

pub(crate) mod cache;
mod change_archive;
pub(crate) mod compression;
mod config_labels;
pub(crate) mod docker;
pub(crate) mod endpoint;
mod layer_cache;
pub(crate) mod layer_filter;
pub(crate) mod mirror;
pub(crate) mod os_bundle;
mod platform;
mod saved_image;
pub(crate) mod transfer;
pub(crate) mod upload;
