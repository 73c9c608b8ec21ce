//! Program `edge-partition`, implemented in the library of this crate.

use std::process::ExitCode;

use clap::Parser;
use edge_common::{Root, exit, log};

fn main() -> ExitCode {
    log::start("edge-partition");
    let result = edge_partition::run(&Root::system(), &edge_partition::Args::parse());
    exit::finish(result.map_err(exit::denied))
}
