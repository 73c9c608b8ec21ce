//! Limits and settings of the caller, which sudo leaves to the processes of root. Hard
//! limits are tested in the test VM (`xtask`): root may not raise them on every machine.

use crate::device::{Device, output_text};

/// Program in the place of docker's client that prints what it was given.
const CLIENT: &str = "#!/bin/sh
umask
cat /proc/self/limits /proc/self/oom_score_adj
nice
pwd
env
grep -E 'SigIgn|SigBlk' /proc/self/status
";

#[test]
fn what_the_caller_sets_has_no_effect() {
    let device = Device::start();
    device.write("/data/client", CLIENT.as_bytes());
    device.good(&["chmod", "755", "/data/client"]);
    device.good(&["mount", "--bind", "/data/client", "/usr/bin/docker"]);
    let ordinary = device.good(&["sh", "-c", "cd /tmp; exec edge-docker ps"]);
    for caller in [
        "umask 0777;",
        "umask 0;",
        "exec prlimit --nofile=9:",
        "exec prlimit --nofile=3000:",
        "exec prlimit --fsize=0: --core=0: --cpu=3: --nproc=9:",
        "exec prlimit --stack=262144: --memlock=0: --sigpending=0: --rss=1: --locks=1:",
        "exec prlimit --as=100000000: --data=50000000:",
        "exec nice -n 15",
        "echo 900 >/proc/self/oom_score_adj;",
        "mkdir -p /tmp/gone; cd /tmp/gone; rmdir /tmp/gone;",
        "trap '' CHLD XFSZ XCPU ALRM USR1 USR2 TERM WINCH;",
        "export OPENSSL_CONF=/x GODEBUG=x DOCKER_HOST=tcp://x TMPDIR=/x TZ=x SSL_CERT_FILE=x;",
    ] {
        let script = format!("cd /tmp; {caller} edge-docker ps");
        let output = device.run(&["sh", "-c", &script]);
        assert!(
            output.status.success(),
            "{caller}: {}",
            output_text(&output)
        );
        let printed = String::from_utf8(output.stdout).unwrap();
        assert_eq!(printed.trim(), ordinary, "{caller}");
    }
    assert!(ordinary.starts_with("0022\n"), "{ordinary}");
}

/// Program that blocks all signals and executes its arguments.
const BLOCK: &str = "import os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
os.execv(sys.argv[1], sys.argv[1:])";

#[test]
fn blocked_signals_are_unblocked() {
    let device = Device::start();
    device.write("/data/client", CLIENT.as_bytes());
    device.good(&["chmod", "755", "/data/client"]);
    device.good(&["mount", "--bind", "/data/client", "/usr/bin/docker"]);
    let ordinary = device.good(&["edge-docker", "ps"]);
    assert!(ordinary.contains("SigBlk:\t0000000000000000"), "{ordinary}");
    let block = ["python3", "-c", BLOCK];
    let blocked =
        device.good(&[&block[..], &["/bin/grep", "SigBlk", "/proc/self/status"]].concat());
    assert!(!blocked.contains("0000000000000000"), "{blocked}");
    let printed = device.good(&[&block[..], &["/usr/bin/edge-docker", "ps"]].concat());
    assert_eq!(printed, ordinary);
}

#[test]
fn files_are_written_under_any_limit_and_without_streams() {
    let device = Device::start();
    for caller in [
        "umask 0777; prlimit --nofile=9: --fsize=0: --cpu=1:",
        "trap '' CHLD XFSZ PIPE;",
        "exec 0<&- 1>&- 2>&-;",
    ] {
        let script = format!("{caller} edge-docker logout");
        let output = device.run(&["sh", "-c", &script]);
        assert!(
            output.status.success(),
            "{caller}: {}",
            output_text(&output)
        );
    }
    let text = device.good(&["edge-docker", "ledger"]);
    assert_eq!(text.matches("allowed logout").count(), 3, "{text}");
    let modes = device.good(&[
        "stat",
        "-c",
        "%a",
        "/data/log/ledger",
        "/data/log/ledger/00000001.ledger",
    ]);
    assert_eq!(modes, "700\n600");
}
