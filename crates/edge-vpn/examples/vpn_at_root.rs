//! edge-vpn on the root file system of a test: `vpn_at_root ROOT [ARG]...`.

use std::process::ExitCode;

use clap::Parser;
use edge_common::{Root, exit, log};

fn main() -> ExitCode {
    log::start("edge-vpn");
    let mut args = std::env::args_os().skip(1);
    let root = Root::at(args.next().unwrap_or_default());
    let args = std::iter::once("edge-vpn".into()).chain(args);
    exit::finish(edge_vpn::run(&root, &edge_vpn::Args::parse_from(args)))
}
