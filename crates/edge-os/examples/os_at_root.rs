//! edge-os on the root file system of a test: `os_at_root ROOT [ARG]...`.

use std::process::ExitCode;

use clap::Parser;
use edge_common::{Root, exit, log};

fn main() -> ExitCode {
    log::start("edge-os");
    let mut args = std::env::args_os().skip(1);
    let root = Root::at(args.next().unwrap_or_default());
    let args = std::iter::once("edge-os".into()).chain(args);
    exit::finish(edge_os::run(&root, &edge_os::Args::parse_from(args)))
}
