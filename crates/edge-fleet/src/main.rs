//! Program `edge-fleet`, implemented in the library of this crate.

use std::process::ExitCode;

use clap::Parser;
use edge_common::{Root, exit, log};

fn main() -> ExitCode {
    log::start("edge-fleet");
    let result = edge_fleet::run(&Root::system(), &edge_fleet::Args::parse());
    exit::finish(result.map_err(exit::denied))
}
