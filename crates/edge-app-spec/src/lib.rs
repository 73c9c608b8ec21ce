//! Parser of `app.yaml`, the configuration of an app: checks the text and produces
//! the arguments with which edge-docker runs the app on a device.
//!
//! The crate reads no file and runs no program: callers pass the text and receive
//! typed values. It is separate from edge-app because an app and its `app.yaml` may
//! come from an untrusted source: a fuzzer can test the parser without building the
//! network clients of edge-app.

mod mapping;
mod path;
mod scalar;
mod shell;
mod spec;
mod volume;
mod yaml;

pub use mapping::Mapping;
pub use shell::quote;
pub use spec::Spec;
pub use volume::Volume;
pub use yaml::{null_as_default, parse_yaml};
