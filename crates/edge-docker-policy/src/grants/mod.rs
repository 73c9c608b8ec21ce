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
//!     "x11":  { "mounts": [{ "source": "/tmp/.X11-unix", "target": "/tmp/.X11-unix" }] }
//!   },
//!   "sandbox": ["gpu"] }
//! ```
//!
//! A grant that amounts to root on the device, such as one with the socket of the system
//! bus, is an error unless it says `"root": true`. It then applies only to images whose
//! signed run specification names it in `root`.

mod granted;
mod held;
mod root;
mod table;

pub use granted::Granted;
pub(crate) use granted::RequestedGrant;
pub use held::held;
pub use table::Table;
