//! edge-provision on the root file system of a test:
//! `provision_at_root ROOT [ARG]...`.

use std::process::ExitCode;

use clap::Parser;
use edge_common::{Root, exit, log};

fn main() -> ExitCode {
    log::start("edge-provision");
    let mut args = std::env::args_os().skip(1);
    let root = Root::at(args.next().unwrap_or_default());
    let args = std::iter::once("edge-provision".into()).chain(args);
    exit::finish(edge_provision::run(
        &root,
        &edge_provision::Args::parse_from(args),
    ))
}
