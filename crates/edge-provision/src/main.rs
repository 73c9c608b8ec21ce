//! Program `edge-provision`, implemented in the library of this crate.

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
