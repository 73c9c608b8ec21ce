//! Network settings that an engineer sends to a device: their format, their checks, and
//! the keyfiles of NetworkManager that they become.
//!
//! `edge-app network` checks a file on the laptop, and `edge-docker network` checks what
//! arrives on the device by the same code. Nothing here opens a file or a socket. The
//! subset of NetworkManager is small on purpose: what is not here cannot be set, and no
//! value can become another key of a keyfile. See `docs/decisions/0051-network-settings.md`.

mod addresses;
mod check;
mod keyfile;
mod settings;
#[cfg(test)]
mod tests;
mod types;

pub use keyfile::{PREFIX, SUFFIX};
pub use types::{Interface, Ip, Kind, Method, Route, Security, Settings, Wifi};

/// Size limit of settings in bytes, as JSON.
pub const MAX_SETTINGS_BYTES: u64 = 16 * 1024;
/// Time in seconds that new settings have to reach the laptop or the cloud, before the
/// device returns to those before.
pub const TRIAL_SECONDS: u64 = 120;
