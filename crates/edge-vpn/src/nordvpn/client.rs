//! NordVPN's client in its container, through edge-docker.

use std::time::Duration;

use anyhow::{Error, Result, anyhow};
use edge_common::Root;
use edge_common::contract::exit_code;
use edge_common::contract::path::EDGE_DOCKER;

use super::messages::{self, Meaning};
use super::peers::{self, List};
use crate::cause::Cause;
use crate::programs;

/// Time limit of one command.
const COMMAND_LIMIT: Duration = Duration::from_secs(30);
/// Program of the client's image that logs in. The client accepts a token on its command
/// line, where every process could read it, or on a terminal: this program takes it from
/// standard input and types it on a pseudo-terminal.
const LOGIN: &str = "nordvpn-login";

/// Client in one container.
pub(super) struct Client<'a> {
    root: &'a Root,
    app: &'a str,
}

/// Reply to a command.
pub(super) struct Reply {
    /// Whether the client ended with status 0.
    pub success: bool,
    /// Meaning of the output.
    pub meaning: Meaning,
    /// End of the output, for people.
    summary: String,
}

impl Reply {
    /// Returns the failure that the reply reports.
    pub(super) fn error(&self) -> Error {
        match self.meaning {
            Meaning::Failure(cause) => cause.error(format_args!(
                "{}: {}",
                messages::describe(cause),
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
    /// Returns the client in the container of `app`.
    pub(super) fn new(root: &'a Root, app: &'a str) -> Self {
        Self { root, app }
    }

    /// Runs a command of the client.
    pub(super) fn run(&self, args: &[&str]) -> Result<Reply> {
        self.exec(&[&[self.app, "nordvpn"], args].concat(), "", None)
            .map(|(reply, _)| reply)
    }

    /// Logs in. The token is on no command line and in no message.
    pub(super) fn log_in(&self, token: &str) -> Result<Reply> {
        let input = format!("{token}\n");
        self.exec(&["--interactive", self.app, LOGIN], &input, Some(token))
            .map(|(reply, _)| reply)
    }

    /// Returns the devices of Meshnet, or the reply that there is no list.
    pub(super) fn list(&self) -> Result<Result<List, Reply>> {
        let args = [self.app, "nordvpn", "meshnet", "peer", "list"];
        let (reply, stdout) = self.exec(&args, "", None)?;
        if reply.success && stdout.contains("This device:") {
            let list = peers::parse(&stdout);
            return list
                .map(Ok)
                .map_err(|e| e.context("parsing the list of peers"));
        }
        Ok(Err(reply))
    }

    fn exec(&self, args: &[&str], input: &str, secret: Option<&str>) -> Result<(Reply, String)> {
        let mut command = self.root.command(EDGE_DOCKER);
        command.arg("exec").args(args);
        let mut completed = programs::run(&mut command, input, COMMAND_LIMIT)?;
        // The terminal of the login may echo it.
        if let Some(secret) = secret {
            completed.stdout = completed.stdout.replace(secret, "(token)");
            completed.stderr = completed.stderr.replace(secret, "(token)");
        }
        let code = completed.status.map(|status| status.code());
        let meaning = match (code, messages::meaning(&completed.output())) {
            // No end within the limit: the client waits for NordVPN's servers.
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
