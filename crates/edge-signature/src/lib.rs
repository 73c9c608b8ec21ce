//! edge-signature
