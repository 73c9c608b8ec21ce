//! `edge-app`: see the library.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    edge_common::log::start("edge-app");
    edge_common::exit::finish(edge_app::run(edge_app::Args::parse()))
}
