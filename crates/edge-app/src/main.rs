//! Program `edge-app`: parses the arguments, runs the command and exits with its code.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    edge_common::log::start("edge-app");
    edge_common::exit::finish(edge_app::run(edge_app::Args::parse()))
}
