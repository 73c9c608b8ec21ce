//! Program `edge-provision`, implemented in the library of this crate.

use std::process::ExitCode;

use clap::Parser;
use edge_common::{Root, exit, log};

fn main() -> ExitCode {
    log::start("edge-provision");
    let result = edge_provision::run(&Root::system(), &edge_provision::Args::parse());
    exit::finish(result.map_err(exit::denied))
}
