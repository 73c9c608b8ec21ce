//! What engineers and others type behind `edge-docker run`, a word a line: on a
//! device without trust anchors nothing is ever allowed.
#![no_main]

use edge_common::Root;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let words = std::iter::once("run").chain(text.split('\n'));
    let words = words.map(String::from).collect();
    let result = edge_docker::run(&Root::at("/nonexistent"), Ok(words));
    assert!(result.is_err() || text.starts_with("--help\n") || text == "--help");
});
