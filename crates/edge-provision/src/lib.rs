//! edge-provision
