//! edge-docker on a root of its own, for tests: `at_root ROOT WORD...`.

use std::process::ExitCode;

use edge_common::{Root, exit, log};

fn main() -> ExitCode {
    log::start("edge-docker");
    let mut words = std::env::args().skip(1);
    let root = Root::at(words.next().unwrap_or_default());
    exit::finish(edge_docker::run(&root, Ok(words.collect())))
}
