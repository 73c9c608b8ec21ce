//! edge-sim
