//! End of a demo by a signal.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// Bit of SIGINT in the masks of `/proc/PID/status`.
const SIGINT: u64 = 1 << 1;

/// Waits until the process handles SIGINT itself.
fn await_handler(child: &mut Child) {
    let status = format!("/proc/{}/status", child.id());
    loop {
        assert!(child.try_wait().unwrap().is_none(), "ended by itself");
        let text = std::fs::read_to_string(&status).unwrap();
        let caught = text.lines().find_map(|l| l.strip_prefix("SigCgt:"));
        let caught = u64::from_str_radix(caught.unwrap().trim(), 16).unwrap();
        if caught & SIGINT != 0 {
            return;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn an_interrupted_demo_ends_with_130() {
    let mut demo = Command::new(env!("CARGO_BIN_EXE_xtask"))
        .arg("demo")
        .process_group(0)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    await_handler(&mut demo);
    // As the terminal does after Ctrl-C: the signal goes to the whole process group.
    let group = format!("-{}", demo.id());
    assert!(
        Command::new("/bin/kill")
            .args(["-INT", "--", &group])
            .status()
            .unwrap()
            .success()
    );
    assert_eq!(demo.wait().unwrap().code(), Some(130));
}
