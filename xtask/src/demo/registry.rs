//! What an attacker with write access to the registry would do.

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::world::World;
use crate::shell;

const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// Puts a changed manifest of the image `tag` under the tag `name` and gives
/// its digest. With `signature`, the good image's signature is laid beside it.
pub fn tamper(world: &World, tag: &str, name: &str, signature: bool) -> Result<String> {
    let good = get(world, tag)?;
    // Another digest for the same content: all that the signature is about.
    let bad = format!("{good}\n{}", if signature { " " } else { "" });
    put(world, name, &bad)?;
    let digest = sha256(&bad)?;
    if signature {
        let good_tag = format!("sha256-{}.sig", sha256(&good)?);
        put(
            world,
            &format!("sha256-{digest}.sig"),
            &get(world, &good_tag)?,
        )?;
    }
    Ok(digest)
}

fn get(world: &World, tag: &str) -> Result<String> {
    let accept = format!("Accept: {DOCKER_MANIFEST}, {OCI_MANIFEST}");
    request(world, tag, &["-H", &accept], "")
}

fn put(world: &World, tag: &str, manifest: &str) -> Result<()> {
    let parsed: Value = serde_json::from_str(manifest).context("parsing a manifest")?;
    let kind = parsed["mediaType"].as_str().unwrap_or(OCI_MANIFEST);
    let header = format!("Content-Type: {kind}");
    let words = ["-X", "PUT", "-H", &header, "--data-binary", "@-"];
    request(world, tag, &words, manifest).map(|_| ())
}

/// One request for a manifest. The password goes through a file that only curl
/// reads, never through its arguments.
fn request(world: &World, tag: &str, words: &[&str], body: &str) -> Result<String> {
    let repository = world.endpoint("registry")?;
    let (host, name) = repository
        .split_once('/')
        .context("registry without a name")?;
    let password = std::fs::read_to_string(world.endpoint("registry_password_file")?)?;
    let config = world.path("curl.conf");
    let user = world.endpoint("registry_user")?;
    let line = format!("user = \"{user}:{}\"\n", password.trim());
    #[expect(clippy::disallowed_methods, reason = "a throw-away file of the demo")]
    std::fs::write(&config, line)?;
    let mut curl = shell::command("curl");
    curl.args(["--silent", "--show-error", "--fail", "--config"])
        .arg(&config);
    curl.arg("--cacert").arg(world.endpoint("ca_file")?);
    curl.args(["--connect-to", &format!("{host}:127.0.0.1:")]);
    curl.args(words)
        .arg(format!("https://{host}/v2/{name}/manifests/{tag}"));
    let out = shell::feed(&mut curl, body.as_bytes())?;
    if !out.status.success() {
        bail!("manifest {tag}: {}", shell::said(&out));
    }
    Ok(String::from_utf8(out.stdout)?)
}

fn sha256(text: &str) -> Result<String> {
    let out = shell::feed(&mut shell::command("sha256sum"), text.as_bytes())?;
    let printed = String::from_utf8(out.stdout)?;
    Ok(printed.split(' ').next().unwrap_or_default().to_string())
}
