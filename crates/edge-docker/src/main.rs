//! `edge-docker`: see the library.

use std::process::ExitCode;

use edge_common::{Root, exit, log};

fn main() -> ExitCode {
    log::start("edge-docker");
    let args = std::env::args_os()
        .skip(1)
        .map(std::ffi::OsString::into_string);
    exit::finish(edge_docker::run(&Root::system(), args.collect()))
}
