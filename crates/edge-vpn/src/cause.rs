//! Causes for which the device is not in the VPN, with one exit code for each, so that
//! an operator knows from the exit code how to react.

use std::fmt::Display;

use anyhow::Error;
use edge_common::exit::{Failure, denied};

/// Cause for which the device is not in the VPN, or not reachable over it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cause {
    /// `vpn.json`, `policy.json` or `desired.vpn` is invalid.
    Config,
    /// There is no network, or the VPN server or hub does not answer.
    Network,
    /// The NordVPN token is missing, rejected or expired.
    Token,
    /// The NordVPN account already has ten devices, which is its maximum.
    AccountFull,
    /// NordVPN rejects further logins or changes because a rate limit is reached.
    RateLimit,
    /// The kernel does not support WireGuard, TUN or nf_tables.
    Kernel,
    /// NordVPN has disabled Meshnet, or the client does not support it.
    SwitchedOff,
    /// The container with NordVPN's client, or the daemon in it, is not running.
    Daemon,
    /// edge-docker refuses to run the container with NordVPN's client.
    Refused,
    /// sshd does not answer on the address of the device in the VPN.
    Ssh,
    /// NordVPN did not register the device. The client does not say why: the account is
    /// full, a limit is reached, or its servers were not reached.
    Registration,
}

impl Cause {
    /// Returns the exit code of the cause, as listed by `--help`.
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
            Self::Registration => 13,
        }
    }

    /// Creates an error that ends edge-vpn with the exit code of this cause.
    pub(crate) fn error(self, message: impl Display) -> Error {
        Failure::error(self.code(), message)
    }

    /// Attaches the exit code of this cause to `error`, unless `error` already has one.
    pub(crate) fn wrap(self, error: Error) -> Error {
        Failure::wrap(self.code(), denied(error))
    }
}
