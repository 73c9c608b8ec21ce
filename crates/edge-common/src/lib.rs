//! Library shared by the device tools, thin on purpose: a module comes in when three
//! tools need it.
//!
//! [`contract`] has the names and numbers on which several programs rely; [`exit`]
//! turns results into documented exit codes; [`log`] writes to the journal; [`time`] and
//! [`hex`] format times and bytes. With the feature `system`, which is on by default,
//! `Root` is passed first to everything that touches files or programs: `file` writes
//! durably, `lock` excludes a second process, `command` runs programs, `backoff` spreads
//! the attempts of a fleet, `boot` records the results of boot steps, `identity` reads
//! the device's identity and `policy` the image's policy. The feature `mqtt` adds a
//! session with AWS IoT. Without features nothing here opens a file, so that the
//! container policy can be built, tested and fuzzed alone.

#[cfg(feature = "system")]
pub mod backoff;
#[cfg(feature = "system")]
pub mod boot;
#[cfg(feature = "system")]
pub mod command;
pub mod contract;
pub mod exit;
#[cfg(feature = "system")]
pub mod file;
pub mod hex;
#[cfg(feature = "system")]
pub mod identity;
#[cfg(feature = "system")]
pub mod lock;
pub mod log;
#[cfg(feature = "mqtt")]
pub mod mqtt;
#[cfg(feature = "system")]
pub mod policy;
#[cfg(feature = "system")]
mod root;
pub mod time;

#[cfg(feature = "system")]
pub use root::Root;
