//! The NordVPN client, asked through edge-docker in its container.

use std::time::Duration;

use anyhow::{Error, Result, anyhow};
use edge_common::Root;

use crate::cause::Cause;
use crate::peers::{self, List};
use crate::tool;
use crate::words::{self, Meaning};

/// Limit of one question.
const LIMIT: Duration = Duration::from_secs(30);
/// The program of our image that logs in: it takes the token from its standard
/// input and gives it to the client on a pseudo-terminal.
const LOGIN: &str = "nordvpn-login";

/// The client of one container.
pub struct Client<'a> {
    root: &'a Root,
    app: &'a str,
}

/// What it said.
pub struct Said {
    /// It reported success.
    pub good: bool,
    /// What that means.
    pub meaning: Meaning,
    /// Its last words, for people.
    last: String,
}

impl Said {
    /// The failure that this is.
    pub fn error(&self) -> Error {
        match self.meaning {
            Meaning::Trouble(cause) => {
                cause.error(format_args!("{}: {}", words::about(cause), self.last))
            }
            Meaning::LoggedOut => {
                Cause::Token.error(format_args!("the client is logged out: {}", self.last))
            }
            _ => anyhow!("the client says: {}", self.last),
        }
    }
}

impl<'a> Client<'a> {
    /// The client in the container of `app`.
    pub fn new(root: &'a Root, app: &'a str) -> Self {
        Self { root, app }
    }

    /// Asks it to do something.
    ///
    /// # Errors
    /// edge-docker cannot be started.
    pub fn ask(&self, words: &[&str]) -> Result<Said> {
        self.exec(&[&[self.app, "nordvpn"], words].concat(), "", None)
            .map(|(said, _)| said)
    }

    /// Logs in. The token stands on no command line and in no message.
    ///
    /// # Errors
    /// As [`Client::ask`].
    pub fn log_in(&self, token: &str) -> Result<Said> {
        let input = format!("{token}\n");
        self.exec(&["--interactive", self.app, LOGIN], &input, Some(token))
            .map(|(said, _)| said)
    }

    /// The devices of Meshnet, or what has to be done first.
    ///
    /// # Errors
    /// edge-docker cannot be started, or the list is none.
    pub fn list(&self) -> Result<Result<List, Said>> {
        let words = [self.app, "nordvpn", "meshnet", "peer", "list"];
        let (said, out) = self.exec(&words, "", None)?;
        if said.good && out.contains("This device:") {
            let list = peers::parse(&out);
            return list
                .map(Ok)
                .map_err(|e| e.context("reading the list of peers"));
        }
        Ok(Err(said))
    }

    fn exec(&self, words: &[&str], input: &str, secret: Option<&str>) -> Result<(Said, String)> {
        let mut command = self.root.command("/usr/bin/edge-docker");
        command.arg("exec").args(words);
        let mut answer = tool::ask(&mut command, input, LIMIT)?;
        if let Some(secret) = secret {
            answer.out = answer.out.replace(secret, "(token)");
            answer.err = answer.err.replace(secret, "(token)");
        }
        let meaning = match (answer.status, words::meaning(&answer.all())) {
            (None, Meaning::Unknown) => Meaning::Trouble(Cause::Network),
            (_, meaning) => meaning,
        };
        let said = Said {
            good: answer.good(),
            meaning,
            last: answer.last(),
        };
        Ok((said, answer.out))
    }
}
