//! Shared by the device tools, thin on purpose: a module comes in when three
//! tools need it.
//!
//! [`Root`] is passed first to everything that touches the world; [`file`]
//! writes durably; [`command`] runs programs; [`log`] speaks to the journal;
//! [`exit`] turns results into documented exit codes; [`boot`] leaves them for
//! who looks from a distance; [`identity`] says who the device is; `mqtt` (feature) holds one session with AWS IoT.

pub mod boot;
pub mod command;
pub mod exit;
pub mod file;
pub mod identity;
pub mod log;
#[cfg(feature = "mqtt")]
pub mod mqtt;
mod root;

pub use root::Root;
