//! Images that a device builds by itself, with a static shell: `busybox-static`.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

use std::fs;
use std::io::Write as _;
use std::process::Stdio;

use edge_sim::namespaces::Device;

/// Builds `name` there of `files`, among them a Dockerfile, and of `busybox`.
pub fn build(device: &Device, name: &str, files: &[(&str, &[u8])]) {
    let mut tar = tar::Builder::new(Vec::new());
    let busybox = fs::read("/bin/busybox").expect("install busybox-static");
    for (name, content) in files.iter().chain(&[("busybox", &busybox[..])]) {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o755);
        tar.append_data(&mut header, name, *content).unwrap();
    }
    let mut command = device.command("edge-docker");
    command.args(["build", "-q", "-t", name, "-"]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(&tar.into_inner().unwrap()).unwrap();
    drop(input);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}\n{}", device.log());
}
