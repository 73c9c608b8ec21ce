//! Library shared by the device tools. It is kept small: a module is added only when
//! several tools need it.
//!
//! [`contract`] defines the names, numbers and paths that several programs share;
//! [`exit`] converts results to exit codes; [`log`] writes messages to standard error;
//! [`time`] and [`hex`] format times and bytes. The default feature `system` adds the
//! modules that use files and processes: `file` writes durably, `lock` excludes a
//! second process, `command` runs programs, `backoff` spreads the attempts of a fleet,
//! `boot` records the results of boot steps, `holds` keeps which apps were changed by hand,
//! `identity` reads the device identity,
//! `known_time` says which time has certainly passed, and `policy` reads `policy.json`. A `Root` is the directory below which they find their
//! files. The feature `resolve` looks up
//! names, `connect` adds TLS connections, `https` requests and `mqtt` a session with AWS IoT
//! over them, `engine` requests to the container engine. Without features the library
//! opens no file, so that the container policy can be built, tested and fuzzed alone.

#[cfg(feature = "system")]
pub mod backoff;
#[cfg(feature = "system")]
pub mod boot;
#[cfg(feature = "system")]
pub mod command;
#[cfg(feature = "connect")]
pub mod connect;
pub mod contract;
#[cfg(feature = "engine")]
pub mod engine;
pub mod exit;
#[cfg(feature = "system")]
pub mod file;
pub mod hex;
#[cfg(feature = "system")]
pub mod holds;
#[cfg(feature = "https")]
pub mod https;
#[cfg(feature = "system")]
pub mod identity;
#[cfg(feature = "system")]
pub mod known_time;
pub mod level;
#[cfg(feature = "system")]
pub mod lock;
pub mod log;
#[cfg(feature = "mqtt")]
pub mod mqtt;
#[cfg(feature = "system")]
pub mod policy;
#[cfg(feature = "system")]
pub mod quotas;
#[cfg(feature = "system")]
pub mod refusal;
#[cfg(feature = "resolve")]
pub mod resolve;
#[cfg(feature = "system")]
mod root;
pub mod time;

#[cfg(feature = "system")]
pub use root::Root;
