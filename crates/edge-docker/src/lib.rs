//! edge-docker
