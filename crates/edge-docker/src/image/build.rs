//! `build -t sandbox/APP -`: builds sandbox images with the engine's classic builder.
//!
//! The build context is read from standard input and sent by edge-docker itself. Docker's
//! client, which would run with the rights of edge-docker, could copy any directory,
//! Dockerfile or environment variable of the device into a container image.

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

/// Carries out `build`: checks the options and sends the context from standard input to
/// the engine.
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

/// Returns path and query of the build request. Every value is checked and
/// percent-encoded, so that none can add a parameter, for example `remote=` or
/// `networkmode=host`.
fn query(parsed: &Parsed<'_>) -> Result<String> {
    // `forcerm` also removes containers of failed steps, which the boot audit would
    // quarantine.
    let mut query = String::from("/build?rm=1&forcerm=1");
    let mut build_args = Map::new();
    let mut is_tagged = false;
    for (option, text) in &parsed.options {
        match *option {
            // Every tag is checked, because the engine gives the image all of them.
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
            // With `host` a RUN step could connect to every service of the device, and
            // with `container:ID` to the network of an app.
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
    // An image without a name would occupy the disk, and nobody could run it.
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
