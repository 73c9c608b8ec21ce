//! Program `edge-heartbeat`, implemented in the library of this crate.

use std::process::ExitCode;

use clap::Parser;
use edge_common::{Root, exit, log};

fn main() -> ExitCode {
    log::start("edge-heartbeat");
    let result = edge_heartbeat::run(&Root::system(), &edge_heartbeat::Args::parse());
    exit::finish(result.map_err(exit::denied))
}
