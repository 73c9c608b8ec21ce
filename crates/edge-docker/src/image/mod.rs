//! Images: whose they are, and how they come onto the device.

pub mod build;
pub mod failure;
pub mod identify;
pub mod load;
pub mod login;
pub mod progress;
pub mod pull;
pub mod release_numbers;
pub mod signatures;
pub mod zstd;
