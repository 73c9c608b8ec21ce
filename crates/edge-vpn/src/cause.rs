//! Causes for which the device is not in the VPN, one exit code each: what an operator
//! does about it depends on nothing else.

use std::fmt::Display;

use anyhow::Error;
use edge_common::exit::Failure;

/// Cause for which the device is not in the VPN.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// `vpn.json`, `policy.json` or `desired.vpn` is invalid.
    Config,
    /// There is no network, or the other side does not answer.
    Network,
    /// The token is missing, rejected or expired.
    Token,
    /// The account has its ten devices.
    AccountFull,
    /// NordVPN's limit of changes is reached.
    RateLimit,
    /// The kernel lacks WireGuard, TUN or nf_tables.
    Kernel,
    /// NordVPN has switched Meshnet off.
    SwitchedOff,
    /// The client's container or its daemon is down.
    Daemon,
    /// edge-docker refuses the container.
    Refused,
    /// SSH does not answer on the address in the VPN.
    Ssh,
}

impl Cause {
    /// Returns the exit code.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Config => 3,
            Self::Network => 4,
            Self::Token => 5,
            Self::AccountFull => 6,
            Self::RateLimit => 7,
            Self::Kernel => 8,
            Self::SwitchedOff => 9,
            Self::Daemon => 10,
            Self::Refused => 11,
            Self::Ssh => 12,
        }
    }

    /// Creates an error with this exit code.
    pub(crate) fn error(self, message: impl Display) -> Error {
        Failure::error(self.code(), message)
    }

    /// Attaches this exit code to `error`, if it has none.
    pub(crate) fn wrap(self, error: Error) -> Error {
        Failure::wrap(self.code(), error)
    }
}
