//! edge-app
