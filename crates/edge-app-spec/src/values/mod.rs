//! Values of `app.yaml`: each is checked where it stands, by the parser that the device
//! uses for the same option.

pub(crate) mod environment;
pub(crate) mod health;
pub(crate) mod hosts;
pub(crate) mod labels;
pub(crate) mod mapping;
pub(crate) mod mounts;
mod path;
pub(crate) mod ports;
pub(crate) mod program;
pub(crate) mod scalar;
pub(crate) mod settings;
pub(crate) mod volume;
