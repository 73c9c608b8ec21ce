//! Program `edge-docker`: passes its arguments to the library crate and exits with the
//! code that it returns.

use std::process::ExitCode;

use edge_common::{Root, exit, log};

fn main() -> ExitCode {
    log::start("edge-docker");
    edge_docker::start::reset(&Root::system());
    let args = std::env::args_os()
        .skip(1)
        .map(std::ffi::OsString::into_string);
    exit::finish(edge_docker::run(&Root::system(), args.collect()))
}
