//! Program `edge-generator`, implemented in the library of this crate.

use std::process::ExitCode;

use clap::Parser;
use edge_common::{Root, exit, log};

fn main() -> ExitCode {
    log::start("edge-generator");
    let result = edge_generator::run(&Root::system(), &edge_generator::Args::parse());
    exit::finish(result.map_err(exit::denied))
}
