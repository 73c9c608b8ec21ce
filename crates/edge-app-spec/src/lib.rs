//! Parser of `app.yaml`: checks it and turns it into the arguments that edge-docker
//! receives on a device.
//!
//! It takes text and returns values; it reads no file and runs no program. It is a
//! crate of its own because `app.yaml` comes with an app from anywhere: a fuzzer
//! reaches the parser here without building the network clients of edge-app.

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
