//! User name and password of a registry.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// User name and password of a registry.
#[derive(Clone)]
pub struct Credentials {
    /// User name.
    pub username: String,
    /// Password or token. Secret.
    pub password: String,
}

impl Credentials {
    /// Returns the value of an `Authorization` header.
    pub(super) fn basic(&self) -> String {
        let pair = format!("{}:{}", self.username, self.password);
        format!("Basic {}", STANDARD.encode(pair))
    }
}
