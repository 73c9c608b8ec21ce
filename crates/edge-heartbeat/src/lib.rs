//! edge-heartbeat
