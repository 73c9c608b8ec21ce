//! edge-generator
