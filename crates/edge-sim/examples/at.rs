//! A device tool on the root file system of a test: `at ROOT TOOL [WORD]...`.
//! All but the one line that says where the root is, is the tool's own.

use std::process::ExitCode;

use clap::Parser;
use edge_common::{Root, exit, log};

fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    let (Some(directory), Some(tool)) = (words.next(), words.next()) else {
        eprintln!("usage: at ROOT TOOL [WORD]...");
        return ExitCode::from(2);
    };
    let root = Root::at(directory);
    let words = std::iter::once(tool.clone()).chain(words);
    match tool.to_str() {
        Some("edge-provision") => {
            log::start("edge-provision");
            exit::finish(edge_provision::run(
                &root,
                &edge_provision::Args::parse_from(words),
            ))
        }
        Some("edge-heartbeat") => {
            log::start("edge-heartbeat");
            exit::finish(edge_heartbeat::run(
                &root,
                &edge_heartbeat::Args::parse_from(words),
            ))
        }
        _ => {
            eprintln!("at: no such tool");
            ExitCode::from(2)
        }
    }
}
