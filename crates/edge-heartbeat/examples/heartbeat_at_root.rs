//! edge-heartbeat on the root file system of a test: `heartbeat_at_root ROOT
//! [ARG]...`, or at a faster pace `heartbeat_at_root ROOT --pace MILLISECONDS`.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use edge_common::{Root, exit, log};
use edge_heartbeat::{Pauses, Sampling, Timing};

fn main() -> ExitCode {
    log::start("edge-heartbeat");
    let mut args: Vec<_> = std::env::args().skip(1).collect();
    let root = Root::at(args.first().cloned().unwrap_or_default());
    if args.get(1).is_some_and(|option| option == "--pace") {
        let milliseconds = args.get(2).and_then(|text| text.parse().ok());
        let timing = fast(milliseconds.unwrap_or(100));
        return exit::finish(edge_heartbeat::serve(&root, &timing));
    }
    args.splice(..1, ["edge-heartbeat".into()]);
    exit::finish(edge_heartbeat::run(
        &root,
        &edge_heartbeat::Args::parse_from(args),
    ))
}

/// Returns the timing of a device, some hundred times faster.
fn fast(milliseconds: u64) -> Timing {
    Timing {
        interval: Duration::from_millis(milliseconds),
        bounds: (Duration::from_secs(1), Duration::from_secs(60)),
        step: Duration::from_secs(2),
        gather: Duration::from_secs(8),
        pauses: (Duration::from_millis(50), Duration::from_millis(500)),
        rejected: (Duration::from_millis(100), Duration::from_millis(1500)),
        poll: Duration::from_millis(50),
        jobs: Pauses {
            jitter: Duration::from_millis(500),
            list: Duration::from_secs(3),
            between: Duration::from_millis(50),
            lag: Duration::from_millis(100),
            retries: (Duration::from_millis(100), Duration::from_millis(1500)),
            refused: Duration::from_secs(2),
            progress: Duration::from_millis(200),
        },
        sampling: Sampling {
            every: Duration::from_millis(milliseconds.clamp(100, 1000)),
            send: Duration::from_millis(1500),
            backlog: Duration::from_millis(200),
        },
    }
}
