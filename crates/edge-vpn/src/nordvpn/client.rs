//! Commands of NordVPN's client: signed commands of its app, which edge-docker executes in
//! the app's container by their names. `docs/examples/nordvpn/app.yaml` defines them.

use std::time::Duration;

use anyhow::{Error, Result, anyhow};
use edge_common::Root;
use edge_common::contract::exit_code;
use edge_common::contract::path::EDGE_DOCKER;

use super::messages::{self, Meaning};
use super::peers::{self, List};
use crate::cause::Cause;
use crate::programs;

/// Time limit of one command of the client.
const COMMAND_LIMIT: Duration = Duration::from_secs(30);

/// Signed command of the app, named by its key in `commands` of `app.yaml`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SignedCommand {
    /// Denies consent to analytics.
    AnalyticsOff,
    /// Reads the token from standard input. The client itself accepts a token only as an
    /// argument, which every process could read, or on a terminal, so the app brings a
    /// program that types it on a pseudo-terminal.
    Login,
    /// Enables Meshnet.
    MeshnetOn,
    /// Sets the nickname of this device.
    Nickname,
    /// Lists the devices in Meshnet.
    Peers,
    /// Allows a peer to connect to this device.
    AllowIncoming,
    /// Denies a peer to route its traffic through this device.
    DenyRouting,
    /// Denies a peer access to the local network of this device.
    DenyLocal,
    /// Denies a peer to send files.
    DenyFiles,
}

impl SignedCommand {
    /// Returns the key in `commands`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::AnalyticsOff => "analytics-off",
            Self::Login => "login",
            Self::MeshnetOn => "meshnet-on",
            Self::Nickname => "nickname",
            Self::Peers => "peers",
            Self::AllowIncoming => "allow-incoming",
            Self::DenyRouting => "deny-routing",
            Self::DenyLocal => "deny-local",
            Self::DenyFiles => "deny-files",
        }
    }
}

/// NordVPN's client in the container of the app `app`.
pub(super) struct Client<'a> {
    root: &'a Root,
    app: &'a str,
}

/// Result of a command of NordVPN's client: exit status and interpreted output.
pub(super) struct Reply {
    /// Whether the command ended with exit status 0.
    pub success: bool,
    /// Meaning of the output, recognised from the text.
    pub meaning: Meaning,
    /// End of the output, for error messages.
    summary: String,
}

impl Reply {
    /// Returns whether the client itself found that the device has no connection.
    pub(super) fn is_offline(&self) -> bool {
        messages::is_offline(&self.summary)
    }

    /// Converts the reply to an error with the exit code of its cause.
    pub(super) fn error(&self) -> Error {
        match self.meaning {
            Meaning::Failure(cause) => cause.error(format_args!(
                "{}: {}",
                messages::describe(cause),
                self.summary
            )),
            Meaning::NoTerminal => Cause::Config.error(format_args!(
                "the app's command login gives the client no terminal; build the image as \
                 docs/examples/nordvpn does: {}",
                self.summary
            )),
            Meaning::LoggedOut => {
                Cause::Token.error(format_args!("the client is logged out: {}", self.summary))
            }
            _ => anyhow!("unknown reply of the client: {}", self.summary),
        }
    }
}

impl<'a> Client<'a> {
    /// Creates a client for the container of `app`, which need not run yet.
    pub(super) fn new(root: &'a Root, app: &'a str) -> Self {
        Self { root, app }
    }

    /// Runs a signed command with `args` in the container.
    pub(super) fn run(&self, command: SignedCommand, args: &[&str]) -> Result<Reply> {
        self.exec(command, args, "", None).map(|(reply, _)| reply)
    }

    /// Logs in with `token`, which appears in no command line and in no message.
    pub(super) fn log_in(&self, token: &str) -> Result<Reply> {
        let input = format!("{token}\n");
        self.exec(SignedCommand::Login, &[], &input, Some(token))
            .map(|(reply, _)| reply)
    }

    /// Returns the list of the devices in Meshnet, or the client's reply if there is no
    /// list, for example because the client is logged out.
    pub(super) fn list(&self) -> Result<Result<List, Reply>> {
        let (reply, stdout) = self.exec(SignedCommand::Peers, &[], "", None)?;
        if reply.success && stdout.contains("This device:") {
            let list = peers::parse(&stdout);
            return list
                .map(Ok)
                .map_err(|e| e.context("parsing the list of peers"));
        }
        Ok(Err(reply))
    }

    fn exec(
        &self,
        signed: SignedCommand,
        args: &[&str],
        input: &str,
        secret: Option<&str>,
    ) -> Result<(Reply, String)> {
        let mut command = self.root.command(EDGE_DOCKER);
        command.args(["exec", self.app, signed.name()]).args(args);
        let mut completed = programs::run(&mut command, input, COMMAND_LIMIT)?;
        // The pseudo-terminal of the login may echo the token.
        if let Some(secret) = secret {
            completed.stdout = completed.stdout.replace(secret, "(token)");
            completed.stderr = completed.stderr.replace(secret, "(token)");
        }
        let code = completed.status.map(|status| status.code());
        let meaning = match (code, messages::meaning(&completed.output())) {
            // A command that reaches the time limit is waiting for NordVPN's servers.
            (None, Meaning::Unknown) => Meaning::Failure(Cause::Network),
            (Some(Some(code)), Meaning::Unknown) if code == i32::from(exit_code::REFUSED) => {
                Meaning::Failure(Cause::Refused)
            }
            (_, meaning) => meaning,
        };
        let reply = Reply {
            success: completed.success(),
            meaning,
            summary: completed.summary(),
        };
        Ok((reply, completed.stdout))
    }
}
