//! Why it is not ready: one exit code each.

use std::fmt::Display;

use anyhow::Error;
use edge_common::exit::Failure;

/// What keeps the device from being in the VPN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// `vpn.json`, `policy.json` or the shadow's wish is not right.
    Config,
    /// No network, or no answer from the other side.
    Network,
    /// The token is missing, refused or expired.
    Token,
    /// The account has its ten devices.
    Full,
    /// The vendor's limit of changes.
    Limit,
    /// WireGuard, TUN or nf_tables is missing.
    Kernel,
    /// The vendor has switched the feature off.
    Off,
    /// The client's container or its daemon is down.
    Daemon,
    /// edge-docker refuses the container.
    Refused,
    /// SSH does not answer on the address.
    Ssh,
}

impl Cause {
    /// Exit code.
    pub fn code(self) -> u8 {
        match self {
            Self::Config => 3,
            Self::Network => 4,
            Self::Token => 5,
            Self::Full => 6,
            Self::Limit => 7,
            Self::Kernel => 8,
            Self::Off => 9,
            Self::Daemon => 10,
            Self::Refused => 11,
            Self::Ssh => 12,
        }
    }

    /// One word for programs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Config => "configuration",
            Self::Network => "network",
            Self::Token => "token",
            Self::Full => "account-full",
            Self::Limit => "rate-limit",
            Self::Kernel => "kernel",
            Self::Off => "switched-off",
            Self::Daemon => "daemon",
            Self::Refused => "refused",
            Self::Ssh => "ssh",
        }
    }

    /// The failure with its exit code.
    pub fn error(self, message: impl Display) -> Error {
        Failure::error(self.code(), message)
    }

    /// Gives `error` this exit code, if it has none.
    pub fn wrap(self, error: Error) -> Error {
        Failure::wrap(self.code(), error)
    }
}
