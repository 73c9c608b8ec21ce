//! edge-fleet on the root file system of a test: `fleet_at_root ROOT [ARG]...`.

use std::process::ExitCode;

use clap::Parser;
use edge_common::{Root, exit, log};

fn main() -> ExitCode {
    log::start("edge-fleet");
    let mut args: Vec<_> = std::env::args().skip(1).collect();
    let root = Root::at(args.first().cloned().unwrap_or_default());
    args.splice(..1, ["edge-fleet".into()]);
    exit::finish(edge_fleet::run(&root, &edge_fleet::Args::parse_from(args)))
}
