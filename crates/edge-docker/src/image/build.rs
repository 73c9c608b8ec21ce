//! `build -t sandbox/APP -`: the classic builder of the engine. The context comes on
//! standard input, and nothing of the host goes in; docker's client would send a
//! directory of the device, read as root.

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

/// Builds a sandbox image.
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

/// Returns the path of the request; every value is checked and encoded.
fn query(parsed: &Parsed<'_>) -> Result<String> {
    let mut query = String::from("/build?rm=1&forcerm=1");
    let mut build_args = Map::new();
    let mut tagged = false;
    for (option, text) in &parsed.options {
        match *option {
            "tag" if sandbox_app(text).is_some() => {
                query.push_str(&format!("&t={}", encode(text)));
                tagged = true;
            }
            "tag" => {
                return Err(refuse(format_args!(
                    "build is refused: the image must be called -t sandbox/APP, not {text:?}"
                )));
            }
            "file" if is_plain(text) => {
                query.push_str(&format!("&dockerfile={}", encode(text)));
            }
            "file" => return Err(values::bad(option, text, "a path inside the context")),
            "target" => query.push_str(&format!("&target={}", values::name(option, text)?)),
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
    if !tagged {
        return Err(refuse(
            "build is refused: the image must be called -t sandbox/APP",
        ));
    }
    if !build_args.is_empty() {
        let text = Value::from(build_args).to_string();
        query.push_str(&format!("&buildargs={}", encode(&text)));
    }
    Ok(query)
}

/// Percent-encodes everything but unreserved characters (RFC 3986, 2.3).
fn encode(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    let encoded = |b: u8| {
        if plain(b) {
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
    fn values_cannot_add_to_the_request() {
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
    fn only_sandboxes_and_nothing_of_the_host() {
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
