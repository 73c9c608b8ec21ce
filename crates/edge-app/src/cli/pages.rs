//! Shell completions and man pages, generated from clap's definition of the command line,
//! so that both always match the actual options.

use std::path::Path;

use anyhow::{Context, Result};
use clap::{Command, CommandFactory as _};
use clap_complete::Shell;
use edge_common::file;

use crate::cli::args::Args;

/// Prints the completion script for `shell` to standard output.
pub(crate) fn print_completions(shell: Shell) -> Result<()> {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Args::command(), "edge-app", &mut text);
    print!("{}", String::from_utf8(text)?);
    Ok(())
}

/// Writes `edge-app.1` and one page for each command, for example `edge-app-push.1`, into
/// `directory`.
pub(crate) fn write_man_pages(directory: &Path) -> Result<()> {
    file::create_directory(directory, 0o755)?;
    let mut command = Args::command()
        .name("edge-app")
        .disable_help_subcommand(true);
    // Without this, subcommands lack the global options.
    command.build();
    write_page(directory, &command, "edge-app")?;
    for subcommand in command.get_subcommands() {
        let name = format!("edge-app-{}", subcommand.get_name());
        write_page(directory, subcommand, &name)?;
    }
    Ok(())
}

fn write_page(directory: &Path, command: &Command, name: &str) -> Result<()> {
    // A page's title is the name of its command, and clap stores names as `&'static str`,
    // so the few bytes of each title are leaked until the program ends.
    let title: &'static str = Box::leak(name.to_string().into_boxed_str());
    let mut text = Vec::new();
    clap_mangen::Man::new(command.clone().name(title).bin_name(title))
        .render(&mut text)
        .context("writing a man page")?;
    file::write(&directory.join(format!("{name}.1")), &text, 0o644)
}
