//! Commands that show the state, started by a user who may not read it.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

use std::process::Command;

/// What an unprivileged user may not read is neither absent nor broken.
#[test]
fn status_calls_nothing_absent_that_it_may_not_read() {
    let directory = tempfile::tempdir().unwrap();
    let program = env!("CARGO_BIN_EXE_edge-provision");
    let mount = directory.path().display().to_string();
    let run = |args: &str| {
        // The command sees a root of its own, with a private /data.
        let script = format!(
            "mount -t tmpfs none {mount} && cd {mount} && mkdir upper work root && \
             mount -t overlay -o lowerdir=/,upperdir=upper,workdir=work none root && \
             mkdir -p root/data/config/aws-iot && chmod 0700 root/data/config && \
             cp {program} root/edge-provision && exec chroot root setpriv --reuid 61000 \
             --regid 61000 --clear-groups /edge-provision status {args}"
        );
        let mut command = Command::new("/usr/bin/unshare");
        command
            .args(["--mount", "sh", "-c", &script])
            .output()
            .unwrap()
    };
    let output = run("");
    let (text, message) = (
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    );
    assert_eq!(output.status.code(), Some(77), "{text}{message}");
    assert!(message.contains("cannot be read: run as root"), "{message}");
    assert!(text.contains("identity    cannot be read"), "{text}");
    assert!(text.contains("renewal     cannot be read"), "{text}");
    let facts: serde_json::Value = serde_json::from_slice(&run("--json").stdout).unwrap();
    assert_eq!(facts["identity"], "cannot be read");
}
