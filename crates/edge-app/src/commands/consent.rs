//! Consent of the user to the grants of an app, before they are signed.

use std::io::{BufRead, IsTerminal, Write};

use anyhow::{Result, bail};
use edge_common::exit::Failure;
use edge_common::log;

use crate::cli::args::PushOptions;
use crate::project::app::App;

/// Exit code of wrong usage: a consent is missing that no terminal can give.
pub(super) const USAGE: u8 = 2;
/// Escape sequences of a terminal: bold red, and its end.
const RED: [&str; 2] = ["\x1b[1;31m", "\x1b[0m"];

/// Asks the user before grants are signed. A signed grant is valid on every device, so a
/// script must not sign a changed `app.yaml` unnoticed: `--yes` consents to ordinary
/// grants, and `--grant-root NAME` to one that amounts to root.
pub(super) fn confirm_grants(app: &App, options: &PushOptions) -> Result<()> {
    let (grants, root) = (app.spec.grants(), app.spec.root_grants());
    if let Some(name) = options.grant_root.iter().find(|name| !root.contains(name)) {
        let why = format!(
            "--grant-root {name}: `root` of {}'s app.yaml does not name it",
            app.name
        );
        return Err(Failure::error(USAGE, why));
    }
    let ordinary: Vec<_> = grants
        .into_iter()
        .filter(|name| !root.contains(name))
        .collect();
    if !ordinary.is_empty() {
        log::info(format_args!(
            "{} requests grants: {}",
            app.name,
            ordinary.join(", ")
        ));
    }
    if !root.is_empty() {
        warn_of_root(&app.name, root)?;
    }
    let unasked = |name: &&String| !options.grant_root.contains(name);
    let root: Vec<_> = root.iter().filter(unasked).map(String::as_str).collect();
    if !root.is_empty() {
        return confirm_root(&root);
    }
    if ordinary.is_empty() || options.yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        let why = "sign these grants with --yes, or at a terminal";
        return Err(Failure::error(USAGE, why));
    }
    match ask("Sign them? [y/N] ")?.as_str() {
        "y" | "Y" | "yes" => Ok(()),
        _ => bail!("not signed: nothing was pushed"),
    }
}

/// Asks a question that `yes` answers; without a terminal only the option does.
pub(super) fn confirm(question: &str, yes: bool) -> Result<()> {
    if yes {
        return Ok(());
    }
    if !std::io::stdin().is_terminal() {
        return Err(Failure::error(
            USAGE,
            "confirm with --yes, or at a terminal",
        ));
    }
    match ask(&format!("{question} [y/N] "))?.as_str() {
        "y" | "Y" | "yes" => Ok(()),
        _ => bail!("nothing was changed"),
    }
}

/// Asks for the names of the grants that amount to root. This consents to the ordinary
/// ones, too, which give less.
fn confirm_root(names: &[&str]) -> Result<()> {
    if !std::io::stdin().is_terminal() {
        let options: Vec<_> = names
            .iter()
            .map(|name| format!("--grant-root {name}"))
            .collect();
        let why = format!(
            "sign these grants with {}, or at a terminal",
            options.join(" ")
        );
        return Err(Failure::error(USAGE, why));
    }
    let names = names.join(" ");
    // A name instead of `y`: the answer of a habit must not be enough.
    let answer = ask(&format!("Type {names} to sign: "))?;
    match answer.split_whitespace().eq(names.split(' ')) {
        true => Ok(()),
        false => bail!("not signed: nothing was pushed"),
    }
}

/// Prints the grants that amount to root, in red at a terminal.
fn warn_of_root(app: &str, names: &[String]) -> Result<()> {
    let mut output = std::io::stderr().lock();
    let [begin, end] = match output.is_terminal() {
        true => RED,
        false => [""; 2],
    };
    let names = names.join(", ");
    writeln!(
        output,
        "{begin}{app} requests ROOT on every device: {names}{end}\n\
         {begin}whoever controls this app controls the device{end}"
    )?;
    Ok(())
}

pub(super) fn ask(question: &str) -> Result<String> {
    eprint!("{question}");
    std::io::stderr().flush()?;
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(answer.trim().into())
}
