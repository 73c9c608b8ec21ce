//! `edge-provision`: see the library.

use std::process::ExitCode;

use clap::Parser;
use edge_common::{Root, exit, log};

fn main() -> ExitCode {
    log::start("edge-provision");
    exit::finish(edge_provision::run(
        &Root::system(),
        &edge_provision::Args::parse(),
    ))
}
