//! Program `edge-os`, implemented in the library of this crate.

use std::process::ExitCode;

use clap::Parser;
use edge_common::{Root, exit, log};

fn main() -> ExitCode {
    log::start("edge-os");
    exit::finish(edge_os::run(&Root::system(), &edge_os::Args::parse()))
}
