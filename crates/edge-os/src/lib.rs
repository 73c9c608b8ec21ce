//! Choice of the OS slot that a device boots.
//!
//! RAUC writes and verifies the other slot; edge-os decides. It asks the firmware for a
//! slot, keeps it only when the device is as healthy as before, and says with evidence
//! why it came back. State is in `/data/os` and in the firmware's variables; both slots
//! share it. [`decide`] is the pure function at the centre: what a start of the device
//! means. [`settle`] applies it, [`gate`] compares the health of a new slot with that
//! before, and [`backend`] is the firmware.

mod address;
mod args;
pub mod backend;
mod bundle;
pub mod decide;
mod engine;
pub mod exit_code;
pub mod floor;
pub mod gate;
mod health;
pub mod image;
mod install;
pub mod journal;
mod observe;
pub mod preflight;
mod rauc;
pub mod reason;
mod run;
pub mod settle;
pub mod slot;
mod status;
pub mod variables;

pub use args::Args;
pub use run::run;
