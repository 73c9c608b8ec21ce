//! Grants: named permissions, such as a GPU, that containers do not have by default.
//! Their meaning on this board is defined in `/etc/edge-ai/devices.json`, part of the
//! device image.
//!
//! The signature lists names of grants, the table of the board maps these names to
//! devices and capabilities, and the caller requests them: a container gets only
//! permissions that are in all three. A signer therefore need not know the board, and an
//! engineer cannot add to what was signed. For unsigned images, the list `sandbox`
//! replaces the signature.
//!
//! ```json
//! { "grants": {
//!     "gpu":  { "runtime": "nvidia", "cdi": ["nvidia.com/gpu=all"] },
//!     "i2c":  { "devices": ["/dev/i2c-{arg}"], "arg": ["1", "7"] },
//!     "vpn":  { "capabilities": ["NET_ADMIN"], "devices": ["/dev/net/tun"], "network": "host" },
//!     "dbus": { "mounts": [{ "source": "/run/dbus/system_bus_socket", "target": "/run/dbus/system_bus_socket" }] }
//!   },
//!   "sandbox": ["gpu"] }
//! ```

mod granted;
mod held;
mod table;

pub use granted::Granted;
pub(crate) use granted::RequestedGrant;
pub use held::held;
pub use table::Table;
