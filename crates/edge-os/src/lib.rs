//! Choice of the OS slot that a device boots.
//!
//! RAUC writes and verifies the other slot; edge-os decides. It asks the firmware for a
//! slot, keeps it only when the device is as healthy as before, and says with evidence
//! why it came back. State is in `/data/os` and in the firmware's variables; both slots
//! share it. [`decide`] is the pure function at the centre: what a start of the device
//! means. [`settle`] applies it, [`gate`] compares the health of a new slot with that
//! before, and [`backend`] is the firmware.

pub mod backend;
pub mod decide;
pub mod floor;
pub mod gate;
pub mod journal;
pub mod reason;
pub mod settle;
pub mod slot;
pub mod variables;
