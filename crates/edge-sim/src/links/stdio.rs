//! Simulated link between the standard streams of this program and those of a
//! command, for `ProxyCommand` of ssh. Each direction delays bytes by half the
//! round trip. Waiting bytes are never dropped, so that a measurement shows only
//! the link, without slow start and losses of TCP.

use std::fs::File;
use std::io::{Read, Write};
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::process::{Stdio, exit};
use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use edge_common::Root;

/// Maximum size of one read, in bytes: about ten network packets.
const CHUNK_BYTES: usize = 16 * 1024;
/// Maximum number of chunks in transit in one direction.
const MAX_CHUNKS: usize = 4096;

/// Arguments of `edge-sim relay`, which delays bytes and limits their rate.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Round-trip time in milliseconds
    #[arg(long, default_value_t = 0)]
    rtt: u32,
    /// Rate in each direction, in Mbit/s; 0: no limit
    #[arg(long, default_value_t = 0)]
    rate: u32,
    /// Directory for a file, named by the PID, with the numbers of bytes sent and
    /// received
    #[arg(long, value_name = "DIR")]
    count: Option<PathBuf>,
    /// Command at the far end of the link
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

/// Runs the command at the far end of the link and exits when the command's output
/// ends.
pub(crate) fn run(args: Args) -> Result<()> {
    let (program, arguments) = args.command.split_first().context("a command")?;
    let mut command = Root::system().command(program);
    command
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped());
    let mut child = command
        .spawn()
        .with_context(|| format!("starting {program}"))?;
    let (far_in, far_out) = (child.stdin.take(), child.stdout.take());
    let (far_in, far_out) = (
        far_in.context("standard input")?,
        far_out.context("output")?,
    );
    let count = match &args.count {
        Some(directory) => Some(File::create(
            directory.join(std::process::id().to_string()),
        )?),
        None => None,
    };
    let delay = Duration::from_millis(args.rtt.into()) / 2;
    let rate = f64::from(args.rate) * 1e6 / 8.0;
    let counter = |at: u64| -> Result<_> {
        let file = count.as_ref().map(File::try_clone).transpose()?;
        Ok(move |total: u64| {
            if let Some(file) = &file {
                let _ = file.write_all_at(format!("{total:20} ").as_bytes(), at);
            }
        })
    };
    let (sent, received) = (counter(0)?, counter(21)?);
    thread::spawn(move || forward(std::io::stdin(), far_in, delay, rate, sent));
    let back = thread::spawn(move || forward(far_out, std::io::stdout(), delay, rate, received));
    let _ = back.join();
    let _ = child.kill();
    let _ = child.wait();
    exit(0)
}

/// Forwards bytes in one direction, with the delay and rate of the link, until one
/// end closes.
fn forward(
    mut from: impl Read,
    mut to: impl Write + Send + 'static,
    delay: Duration,
    rate: f64,
    count: impl Fn(u64),
) {
    let (sender, receiver) = sync_channel::<(Instant, Vec<u8>)>(MAX_CHUNKS);
    let writer = thread::spawn(move || {
        for (due, bytes) in receiver {
            sleep_until(due);
            if to.write_all(&bytes).and_then(|()| to.flush()).is_err() {
                break;
            }
        }
    });
    let mut chunk = [0; CHUNK_BYTES];
    let mut free = Instant::now();
    let mut total = 0;
    while let Ok(length @ 1..) = from.read(&mut chunk) {
        total += length as u64;
        count(total);
        free = free.max(Instant::now());
        if rate > 0.0 {
            free += Duration::from_secs_f64(length as f64 / rate);
        }
        if sender
            .send((free + delay, chunk[..length].to_vec()))
            .is_err()
        {
            break;
        }
        sleep_until(free);
    }
    drop(sender);
    let _ = writer.join();
}

fn sleep_until(due: Instant) {
    let left = due.saturating_duration_since(Instant::now());
    if !left.is_zero() {
        thread::sleep(left);
    }
}
