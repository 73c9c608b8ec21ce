//! Parser of `app.yaml`, the configuration of an app: checks the text and produces the
//! run specification from which a device starts the app.
//!
//! The crate reads no file and runs no program: callers pass the text and receive
//! typed values. Each value is checked by the parser that the device uses for the same
//! option, so that a mistake is found on the laptop, at its line. It is separate from
//! edge-app because an app and its `app.yaml` may come from an untrusted source: a
//! fuzzer can test the parser without building the network clients of edge-app.

mod check;
mod env_file;
mod fields;
mod keys;
mod shell;
mod spec;
mod values;
mod yaml;

pub use check::Image;
pub use shell::quote;
pub use spec::{ReadFile, Spec, options_of, settings_of};
pub use values::mapping::Mapping;
pub use values::volume::Volume;
pub use yaml::{null_as_default, parse_yaml};
