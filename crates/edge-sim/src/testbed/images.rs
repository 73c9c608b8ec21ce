//! Container images for tests: one that a device builds from busybox, and one
//! without layers.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Stdio;

use anyhow::Result;
use edge_common::file;
use edge_signature::{Credentials, Registry};
use serde_json::{Value, json};

use crate::namespaces::Device;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CONFIG: &str = "application/vnd.oci.image.config.v1+json";

/// Returns a build context with `files`, among them a Dockerfile, and a statically linked
/// `busybox`.
///
/// # Panics
/// If busybox-static is not installed.
pub fn build_context(files: &[(&str, &[u8])]) -> Vec<u8> {
    let mut tar = tar::Builder::new(Vec::new());
    let busybox = fs::read("/bin/busybox").expect("install busybox-static");
    for (name, content) in files.iter().chain(&[("busybox", &busybox[..])]) {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(0o755);
        tar.append_data(&mut header, name, *content).unwrap();
    }
    tar.into_inner().unwrap()
}

/// Builds the container image `name` on a device from [`build_context`].
///
/// # Panics
/// If busybox-static is not installed, or the build fails.
pub fn build_image(device: &Device, name: &str, files: &[(&str, &[u8])]) {
    let mut command = device.command("edge-docker");
    command.args(["build", "-q", "-t", name, "-"]);
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(&build_context(files)).unwrap();
    drop(input);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}\n{}", device.log());
}

/// Pushes a container image without layers and with the tag `hello-v1` to
/// `registry`, a repository of the local cloud in `directory`. Returns the digest
/// of the image, which can be resolved but not run.
///
/// # Errors
/// If a file of the local cloud cannot be read, or the registry refuses or does not
/// answer.
pub fn push_image(directory: &Path, registry: &str) -> Result<String> {
    let password = file::read_text(&directory.join("registry.password"), 4096)?;
    let login = Credentials {
        username: "AWS".into(),
        password: password.trim().into(),
    };
    let authority = file::read(&directory.join("ca.pem"), 64 * 1024)?;
    let registry = Registry::new(&registry.parse()?, Some(login), &[authority])?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let config = registry.push_blob(b"{}".to_vec()).await?;
        let manifest: Value = json!({
            "schemaVersion": 2, "mediaType": MANIFEST, "layers": [],
            "config": { "mediaType": CONFIG, "size": 2, "digest": config },
        });
        let bytes = manifest.to_string().into_bytes();
        let digest = registry.push_manifest("hello-v1", bytes, MANIFEST).await?;
        Ok(digest.to_string())
    })
}
