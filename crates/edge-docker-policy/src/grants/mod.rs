//! Grants: named permissions beyond the ordinary, and their meaning on this board, which
//! `/etc/edge-ai/devices.json` in the image of the device states.
//!
//! The signature names grants, the table maps the names to devices and capabilities,
//! and the caller requests them: a container gets what is in all three. A signer thus
//! need not know the board, and an engineer cannot add to what was signed.
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
mod table;

pub use granted::Granted;
pub(crate) use granted::RequestedGrant;
pub use table::Table;
