//! A link with a delay and a rate, in a program's standard streams: what comes
//! in goes to the standard input of a command, and its output comes back. For
//! `ProxyCommand` of ssh. Each direction takes half of the time there and back;
//! what waits is never dropped, so what is measured is the link alone, without
//! a slow start or losses of TCP.

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

/// Most that is taken at once, in bytes: what a packet or few hold.
const PIECE: usize = 16 * 1024;
/// Pieces on the way at most.
const PIECES: usize = 4096;

/// Arguments of `relay`.
#[derive(clap::Args)]
pub struct Args {
    /// Milliseconds there and back
    #[arg(long, default_value_t = 0)]
    rtt: u32,
    /// Millions of bits a second in each direction; 0 is without a limit
    #[arg(long, default_value_t = 0)]
    rate: u32,
    /// Directory in which a file named after this process keeps count: bytes
    /// sent and bytes got
    #[arg(long, value_name = "DIR")]
    count: Option<PathBuf>,
    /// The command at the far end
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

/// Runs the command and ends with it.
///
/// # Errors
/// The command cannot be started.
pub fn run(args: Args) -> Result<()> {
    let (program, words) = args.command.split_first().context("a command")?;
    let mut command = Root::system().command(program);
    command
        .args(words)
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
    let (sent, got) = (counter(0)?, counter(21)?);
    thread::spawn(move || carry(std::io::stdin(), far_in, delay, rate, sent));
    let back = thread::spawn(move || carry(far_out, std::io::stdout(), delay, rate, got));
    let _ = back.join();
    let _ = child.kill();
    let _ = child.wait();
    exit(0)
}

/// Carries bytes until one end is closed.
fn carry(
    mut from: impl Read,
    mut to: impl Write + Send + 'static,
    delay: Duration,
    rate: f64,
    count: impl Fn(u64),
) {
    let (sender, receiver) = sync_channel::<(Instant, Vec<u8>)>(PIECES);
    let writer = thread::spawn(move || {
        for (due, bytes) in receiver {
            sleep_until(due);
            if to.write_all(&bytes).and_then(|()| to.flush()).is_err() {
                break;
            }
        }
    });
    let mut piece = [0; PIECE];
    let mut free = Instant::now();
    let mut total = 0;
    while let Ok(length @ 1..) = from.read(&mut piece) {
        total += length as u64;
        count(total);
        free = free.max(Instant::now());
        if rate > 0.0 {
            free += Duration::from_secs_f64(length as f64 / rate);
        }
        if sender
            .send((free + delay, piece[..length].to_vec()))
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
