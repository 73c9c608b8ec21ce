//! Completions for shells, and man pages, both made from the command line's
//! own definition.

use std::path::Path;

use anyhow::{Context, Result};
use clap::{Command, CommandFactory as _};
use clap_complete::Shell;
use edge_common::file;

use crate::cli::args::Args;

/// Prints completions.
///
/// # Errors
/// None in practice.
pub(crate) fn completions(shell: Shell) -> Result<()> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "edge-app", &mut text);
    print!("{}", String::from_utf8(text)?);
    Ok(())
}

/// Writes `edge-app.1` and a page for each command into `directory`.
///
/// # Errors
/// A directory that cannot be written.
pub(crate) fn man(directory: &Path) -> Result<()> {
    file::create_directory(directory, 0o755)?;
    let mut command = Args::command()
        .name("edge-app")
        .disable_help_subcommand(true);
    command.build();
    page(directory, &command, "edge-app")?;
    for verb in command.get_subcommands() {
        page(directory, verb, &format!("edge-app-{}", verb.get_name()))?;
    }
    Ok(())
}

fn page(directory: &Path, command: &Command, name: &str) -> Result<()> {
    // The name is a page's title; clap wants it for the life of the program.
    let title: &'static str = Box::leak(name.to_string().into_boxed_str());
    let mut text = Vec::new();
    clap_mangen::Man::new(command.clone().name(title).bin_name(title))
        .render(&mut text)
        .context("writing a man page")?;
    file::write(&directory.join(format!("{name}.1")), &text, 0o644)
}
