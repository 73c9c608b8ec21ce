//! `build -t sandbox/APP -`: builds of sandbox images by the engine's classic builder.
//!
//! The context comes on standard input, and docker's client has no part in it: with the
//! rights of edge-docker it would read any directory, Dockerfile or variable of the
//! device into an image.

use std::io::{self, IsTerminal, Write};

use anyhow::{Context, Result};
use edge_common::Root;
use edge_docker_policy::cli::args::Parsed;
use edge_docker_policy::cli::values;
use edge_docker_policy::identity::sandbox_app;
use edge_docker_policy::mounts::is_plain;
use edge_docker_policy::refusal::refuse;
use serde_json::{Map, Value};

use super::progress;
use crate::engine::transfer;
use crate::trust;

/// Carries out `build`.
pub(crate) async fn run(root: &Root, parsed: &Parsed<'_>) -> Result<()> {
    trust::load(root)?.sandbox_allowed("build")?;
    let path = query(parsed)?;
    if parsed.arguments != ["-"] || io::stdin().is_terminal() {
        return Err(refuse(
            "build is refused: give the context as a tar on standard input: build -t sandbox/APP - < context.tar",
        ));
    }
    let produce = |out: &mut dyn Write| {
        let copied = io::copy(&mut io::stdin(), out);
        copied.map(drop).context("reading the context")
    };
    transfer::upload(root, &path, produce, progress::print_stream).await
}

/// Returns the path and query of the request. Every value is checked and encoded, so that
/// none can add a parameter such as `remote=` or `networkmode=host`.
fn query(parsed: &Parsed<'_>) -> Result<String> {
    // Containers of failed steps go too: the boot audit would quarantine them.
    let mut query = String::from("/build?rm=1&forcerm=1");
    let mut build_args = Map::new();
    let mut is_tagged = false;
    for (option, text) in &parsed.options {
        match *option {
            // Each of several tags: one foreign name among them would be enough.
            "tag" if sandbox_app(text).is_some() => {
                query.push_str(&format!("&t={}", encode(text)));
                is_tagged = true;
            }
            "tag" => {
                return Err(refuse(format_args!(
                    "build is refused: name the image with -t sandbox/APP, not {text:?}"
                )));
            }
            "file" if is_plain(text) => {
                query.push_str(&format!("&dockerfile={}", encode(text)));
            }
            "file" => return Err(values::bad(option, text, "a path inside the context")),
            "target" => query.push_str(&format!("&target={}", values::name(option, text)?)),
            // `host` would show a RUN step every service of the device, and `container:ID`
            // the network of an app.
            "network" if ["none", "default"].contains(text) => {
                query.push_str(&format!("&networkmode={text}"));
            }
            "network" => return Err(values::bad(option, text, "none or default")),
            "build-arg" => {
                let (key, value) = text.split_once('=').ok_or_else(|| {
                    refuse(
                        "build --build-arg needs KEY=VALUE: values of the device are not passed on",
                    )
                })?;
                build_args.insert(key.into(), Value::from(value));
            }
            "no-cache" if *text == "true" => query.push_str("&nocache=1"),
            "quiet" if *text == "true" => query.push_str("&q=1"),
            _ => {}
        }
    }
    // Without a name the image would fill the disk, and nobody could run it.
    if !is_tagged {
        return Err(refuse(
            "build is refused: name the image with -t sandbox/APP",
        ));
    }
    if !build_args.is_empty() {
        let json = Value::from(build_args).to_string();
        query.push_str(&format!("&buildargs={}", encode(&json)));
    }
    Ok(query)
}

/// Percent-encodes everything but the unreserved characters of RFC 3986, section 2.3.
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
        query(&Parsed { options, arguments })
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
            "/build?rm=1&forcerm=1&t=sandbox%2Fa%3A1&dockerfile=sub%2FDocker%26networkmode%3Dhost\
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
}
