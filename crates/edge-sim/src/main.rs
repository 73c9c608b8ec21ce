//! Program `edge-sim`. The library contains the commands, so that integration tests
//! can use them.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    edge_common::log::start("edge-sim");
    edge_common::exit::finish(edge_sim::run(edge_sim::Args::parse()))
}
