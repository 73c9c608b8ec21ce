//! Program `edge-vpn`, implemented in the library of this crate.

use std::process::ExitCode;

use clap::Parser;
use edge_common::{Root, exit, log};

fn main() -> ExitCode {
    log::start("edge-vpn");
    let result = edge_vpn::run(&Root::system(), &edge_vpn::Args::parse());
    exit::finish(result.map_err(exit::denied))
}
