//! edge-partition
