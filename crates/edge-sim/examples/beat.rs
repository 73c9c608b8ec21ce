//! `beat ROOT MILLISECONDS`: edge-heartbeat on another root and at a faster
//! pace, as a process of its own, for the tests that measure it.

use std::process::ExitCode;
use std::time::Duration;

use edge_common::{Root, exit, log};
use edge_heartbeat::Pace;

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let root = Root::at(words.next().unwrap_or_default());
    let interval = words.next().and_then(|w| w.parse().ok()).unwrap_or(100);
    log::start("beat");
    let pace = Pace {
        interval: Duration::from_millis(interval),
        bounds: (Duration::from_secs(1), Duration::from_secs(60)),
        step: Duration::from_secs(2),
        pauses: (Duration::from_millis(50), Duration::from_millis(500)),
    };
    exit::finish(edge_heartbeat::serve(&root, &pace))
}
