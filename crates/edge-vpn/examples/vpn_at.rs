//! edge-vpn on a root of its own, for tests: `vpn_at ROOT WORD...`.

use std::process::ExitCode;

use clap::Parser;
use edge_common::{Root, exit, log};

fn main() -> ExitCode {
    log::start("edge-vpn");
    let mut words = std::env::args_os().skip(1);
    let root = Root::at(words.next().unwrap_or_default());
    let words = std::iter::once("edge-vpn".into()).chain(words);
    exit::finish(edge_vpn::run(&root, &edge_vpn::Args::parse_from(words)))
}
