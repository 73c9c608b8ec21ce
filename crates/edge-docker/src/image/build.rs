//! `build -t sandbox/APP -`: builds sandbox images with the engine's classic builder.
//!
//! The build context is read from standard input and sent by edge-docker itself. Docker's
//! client, which would run with the rights of edge-docker, could copy any directory,
//! Dockerfile or environment variable of the device into a container image.

use std::collections::BTreeMap;
use std::io::{self, IsTerminal, Write};
use std::path::Path;

use anyhow::{Context, Result};
use edge_common::Root;
use edge_docker_policy::cli::args::Parsed;
use edge_docker_policy::cli::values;
use edge_docker_policy::dockerfile::Dockerfile;
use edge_docker_policy::identity::sandbox_app;
use edge_docker_policy::image_labels;
use edge_docker_policy::mounts::is_plain;
use edge_docker_policy::refusal::refuse;
use edge_docker_policy::stored::zero;
use edge_signature::Digest;
use hyper::Method;
use serde_json::Value;

use super::{build_limits, context, identify, load, progress, pull};
use crate::engine::{client, transfer};
use crate::{ledger, trust};

/// Names of the Dockerfile without `--file`: the engine takes the second one if there is
/// no first.
const DOCKERFILES: [&str; 2] = ["Dockerfile", "dockerfile"];

/// Carries out `build`: checks the options, judges the Dockerfile, sends the context from
/// standard input to the engine, and names the image if its labels are permitted.
pub(crate) async fn run(root: &Root, parsed: &Parsed<'_>) -> Result<()> {
    trust::load(root)?.sandbox_allowed("build")?;
    let options = Options::of(parsed)?;
    if parsed.arguments != ["-"] || io::stdin().is_terminal() {
        return Err(refuse(
            "build is refused: give the context as a tar on standard input: build -t sandbox/APP - < context.tar",
        ));
    }
    let path = options.path() + &build_limits::parameters(root).await?;
    let (tags, quiet) = (options.tags.clone(), options.quiet);
    let device = root.clone();
    let produce = move |out: &mut dyn Write| {
        let names: Vec<_> = options.dockerfiles.iter().map(Path::new).collect();
        let judge = |text: &[u8]| judged(&device, text, &options.arguments);
        load::decompress(io::stdin(), |input| {
            context::copy(input, out, &names, judge)
        })
    };
    let mut id = None;
    let line = |line: &Value| {
        // The last one is the image; those before are earlier stages.
        if let Some(stage) = line["aux"]["ID"].as_str() {
            id = Some(stage.to_string());
        }
        if !quiet {
            progress::print_stream(line);
        }
    };
    ledger::record(root, "build")?;
    transfer::upload(root, &path, produce, line).await?;
    let id = id.context("the engine built no image")?;
    name(root, &id, &tags).await?;
    if quiet {
        println!("{id}");
    }
    Ok(())
}

/// Judges a Dockerfile; returns it with image IDs in the place of names.
fn judged(root: &Root, text: &[u8], arguments: &BTreeMap<String, String>) -> Result<String> {
    let dockerfile = Dockerfile::parse(text, arguments)?;
    // A runtime of its own: this is the thread that writes the upload.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let ids: Result<Vec<_>> = dockerfile
        .bases
        .iter()
        .map(|base| runtime.block_on(base_id(root, &base.image)))
        .collect();
    Ok(dockerfile.with_ids(&ids?))
}

/// Returns the ID of an image that a Dockerfile may build on: a sandbox image or a
/// verified one on this device, or one that the Dockerfile names by its digest.
async fn base_id(root: &Root, image: &str) -> Result<String> {
    let trust = trust::load(root)?;
    let refused = |why: &str| refuse(format_args!("build: FROM {image} is refused: {why}"));
    let wanted = if sandbox_app(image).is_some() {
        image.to_string()
    } else if pull::require_repository(&trust, image).is_ok() {
        identify::look_up(root, &trust, image).await?.id
    } else if by_digest(image) {
        pull_by_digest(root, image).await?;
        image.to_string()
    } else {
        return Err(refused(
            "only scratch, sandbox/APP, a signed image, or an image with its digest \
             (NAME@sha256:…)",
        ));
    };
    let found = client::find(root, &format!("/images/{wanted}/json")).await?;
    let found = found.ok_or_else(|| refused("it is not on this device; load or pull it first"))?;
    // Instructions that the engine would carry out without showing them here.
    if !zero(&found["Config"]["OnBuild"]) {
        return Err(refused("it has ONBUILD instructions"));
    }
    let id = found["Id"]
        .as_str()
        .context("the engine's image has no ID")?;
    Ok(id.into())
}

/// Returns whether an image is named by its digest, in characters that mean nothing in a
/// URI.
fn by_digest(image: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "._-/:".contains(c);
    let parts = image.split_once('@');
    parts.is_some_and(|(name, digest)| {
        !name.is_empty()
            && name.chars().all(plain)
            && !name.contains("..")
            && digest.parse::<Digest>().is_ok()
    })
}

/// Pulls an image by its digest, unless the engine has it.
async fn pull_by_digest(root: &Root, image: &str) -> Result<()> {
    if client::find(root, &format!("/images/{image}/json"))
        .await?
        .is_some()
    {
        return Ok(());
    }
    let (name, digest) = image.split_once('@').context("an image without a digest")?;
    let path = format!(
        "/images/create?fromImage={}&tag={}",
        encode(name),
        encode(digest)
    );
    client::follow(root, &path, None, |line| {
        progress::print_progress(line, true)
    })
    .await
}

/// Gives a built image its names; removes it if it has labels of edge-docker's.
async fn name(root: &Root, id: &str, tags: &[String]) -> Result<()> {
    let id: Digest = id.parse().context("the engine's image ID")?;
    let found = client::request(root, Method::GET, &format!("/images/{id}/json"), None).await?;
    if let Err(refusal) = image_labels::require_none("build", &found["Config"]) {
        let path = format!("/images/{id}?force=1");
        // An error is ignored: the refusal matters, and without a name nobody can run it.
        let _ = client::request(root, Method::DELETE, &path, None).await;
        return Err(refusal);
    }
    for tag in tags {
        let (name, tag) = tag.split_once(':').unwrap_or((tag, "latest"));
        let path = format!("/images/{id}/tag?repo={name}&tag={tag}");
        client::request(root, Method::POST, &path, None).await?;
    }
    Ok(())
}

/// Checked options of `build`.
struct Options {
    tags: Vec<String>,
    /// Possible paths of the Dockerfile in the context.
    dockerfiles: Vec<String>,
    arguments: BTreeMap<String, String>,
    quiet: bool,
    /// Parameters of the request, percent-encoded.
    parameters: String,
}

impl Options {
    fn of(parsed: &Parsed<'_>) -> Result<Self> {
        let mut options = Self {
            tags: Vec::new(),
            dockerfiles: DOCKERFILES.map(String::from).to_vec(),
            arguments: BTreeMap::new(),
            quiet: false,
            parameters: String::new(),
        };
        for (option, text) in &parsed.options {
            options.apply(option, text)?;
        }
        // An image without a name would occupy the disk, and nobody could run it.
        if options.tags.is_empty() {
            return Err(refuse(
                "build is refused: name the image with -t sandbox/APP",
            ));
        }
        Ok(options)
    }

    fn apply(&mut self, option: &str, text: &str) -> Result<()> {
        match option {
            "tag" if sandbox_app(text).is_some() => self.tags.push(text.into()),
            "tag" => {
                return Err(refuse(format_args!(
                    "build is refused: name the image with -t sandbox/APP, not {text:?}"
                )));
            }
            "file" if is_plain(text) => {
                self.dockerfiles = vec![text.into()];
                self.add("dockerfile", text);
            }
            "file" => return Err(values::bad(option, text, "a path inside the context")),
            "target" => self.add("target", &values::name(option, text)?),
            // With `host` a RUN step could connect to every service of the device, and
            // with `container:ID` to the network of an app.
            "network" if ["none", "default"].contains(&text) => self.add("networkmode", text),
            "network" => return Err(values::bad(option, text, "none or default")),
            "build-arg" => {
                let (key, value) = text.split_once('=').ok_or_else(|| {
                    refuse(
                        "build --build-arg needs KEY=VALUE: values of the device are not passed on",
                    )
                })?;
                self.arguments.insert(key.into(), value.into());
            }
            "no-cache" if text == "true" => self.add("nocache", "1"),
            "quiet" => self.quiet = text == "true",
            _ => {}
        }
        Ok(())
    }

    fn add(&mut self, parameter: &str, value: &str) {
        self.parameters
            .push_str(&format!("&{parameter}={}", encode(value)));
    }

    /// Returns path and query of the build request. Every value is checked and
    /// percent-encoded, so that none can add a parameter, for example `remote=` or
    /// `networkmode=host`. The image gets its names later, when its labels are known.
    fn path(&self) -> String {
        // `forcerm` also removes containers of failed steps, which the boot audit would
        // quarantine.
        let mut path = format!("/build?rm=1&forcerm=1{}", self.parameters);
        if !self.arguments.is_empty() {
            let json = serde_json::json!(self.arguments).to_string();
            path.push_str(&format!("&buildargs={}", encode(&json)));
        }
        path
    }
}

/// Percent-encodes all bytes except the unreserved characters of RFC 3986, section 2.3.
fn encode(text: &str) -> String {
    let unreserved = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    let encoded = |b: u8| {
        if unreserved(b) {
            char::from(b).to_string()
        } else {
            format!("%{b:02X}")
        }
    };
    text.bytes().map(encoded).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path_of(options: Vec<(&'static str, &'static str)>) -> Result<String> {
        let arguments = vec!["-"];
        Options::of(&Parsed { options, arguments }).map(|options| options.path())
    }

    #[test]
    fn values_cannot_add_parameters() {
        let path = path_of(vec![
            ("tag", "sandbox/a:1"),
            ("file", "sub/Docker&networkmode=host"),
            ("build-arg", "A=x&t=alpine"),
        ]);
        assert_eq!(
            path.unwrap(),
            "/build?rm=1&forcerm=1&dockerfile=sub%2FDocker%26networkmode%3Dhost\
             &buildargs=%7B%22A%22%3A%22x%26t%3Dalpine%22%7D"
        );
    }

    #[test]
    fn foreign_names_and_values_of_the_device_are_refused() {
        for options in [
            vec![],
            vec![("tag", "alpine")],
            vec![("tag", "sandbox/a"), ("tag", "r.io/edge-ai:x")],
            vec![("tag", "sandbox/a"), ("network", "host")],
            vec![("tag", "sandbox/a"), ("file", "../x")],
            vec![("tag", "sandbox/a"), ("file", "/etc/passwd")],
            vec![("tag", "sandbox/a"), ("build-arg", "HOME")],
            vec![("tag", "sandbox/a"), ("target", "a b")],
        ] {
            assert!(path_of(options.clone()).is_err(), "{options:?}");
        }
    }

    #[test]
    fn images_by_digest() {
        let hex = "0".repeat(64);
        assert!(by_digest(&format!(
            "docker.io/library/alpine:3@sha256:{hex}"
        )));
        for image in [
            "alpine",
            "alpine:3",
            "alpine@sha256:0",
            "a?x=y@sha256:",
            "@sha256:",
        ] {
            assert!(!by_digest(image), "{image}");
        }
        for name in ["a?x=y", "a%2f", "A", "../a", "a&b", ""] {
            assert!(!by_digest(&format!("{name}@sha256:{hex}")), "{name}");
        }
    }
}
