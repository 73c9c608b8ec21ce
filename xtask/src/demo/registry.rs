//! Simulation of an attacker with write access to the registry, who changes manifests and
//! moves signatures.

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::testbed::Testbed;
use crate::shell;

const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Pushes a changed manifest of the image `tag` under the tag `name` and returns the new
/// digest. With `signature`, also pushes the original's signature for the new digest.
pub(super) fn tamper(testbed: &Testbed, tag: &str, name: &str, signature: bool) -> Result<String> {
    let original = get(testbed, tag)?;
    // Added white space changes only the digest of the manifest, and a signature covers
    // only the digest.
    let changed = format!("{original}\n{}", if signature { " " } else { "" });
    put(testbed, name, &changed)?;
    let digest = sha256(&changed)?;
    if signature {
        let original_tag = format!("sha256-{}.sig", sha256(&original)?);
        put(
            testbed,
            &format!("sha256-{digest}.sig"),
            &get(testbed, &original_tag)?,
        )?;
    }
    Ok(digest)
}

fn get(testbed: &Testbed, tag: &str) -> Result<String> {
    let accept = format!("Accept: {DOCKER_MANIFEST}, {OCI_MANIFEST}");
    request(testbed, tag, &["-H", &accept], "")
}

fn put(testbed: &Testbed, tag: &str, manifest: &str) -> Result<()> {
    let parsed: Value = serde_json::from_str(manifest).context("parsing a manifest")?;
    let kind = parsed["mediaType"].as_str().unwrap_or(OCI_MANIFEST);
    let header = format!("Content-Type: {kind}");
    let args = ["-X", "PUT", "-H", &header, "--data-binary", "@-"];
    request(testbed, tag, &args, manifest).map(|_| ())
}

/// Sends one HTTP request for a manifest with curl. The password is passed in a file,
/// because every user of the machine can see the arguments of processes.
fn request(testbed: &Testbed, tag: &str, args: &[&str], body: &str) -> Result<String> {
    let repository = testbed.endpoint("registry")?;
    let (host, name) = repository
        .split_once('/')
        .context("registry without a name")?;
    let password = std::fs::read_to_string(testbed.endpoint("registry_password_file")?)?;
    let config = testbed.path("curl.conf");
    let user = testbed.endpoint("registry_user")?;
    let line = format!("user = \"{user}:{}\"\n", password.trim());
    #[expect(clippy::disallowed_methods, reason = "a temporary file of the demo")]
    std::fs::write(&config, line)?;
    let mut curl = shell::command("curl");
    curl.args(["--silent", "--show-error", "--fail", "--config"])
        .arg(&config);
    curl.arg("--cacert").arg(testbed.endpoint("ca_file")?);
    curl.args(["--connect-to", &format!("{host}:127.0.0.1:")]);
    curl.args(args)
        .arg(format!("https://{host}/v2/{name}/manifests/{tag}"));
    let out = shell::feed(&mut curl, body.as_bytes())?;
    if !out.status.success() {
        bail!("manifest {tag}: {}", shell::tail(&out));
    }
    Ok(String::from_utf8(out.stdout)?)
}

fn sha256(text: &str) -> Result<String> {
    let out = shell::feed(&mut shell::command("sha256sum"), text.as_bytes())?;
    let printed = String::from_utf8(out.stdout)?;
    Ok(printed.split(' ').next().unwrap_or_default().to_string())
}
