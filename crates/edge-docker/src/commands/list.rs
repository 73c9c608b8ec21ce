//! `ps` and `images`: docker's lists with the app and version of what is signed, where
//! docker has a digest. With `--format`, `--quiet` or `--digests` the list is docker's.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{ExitCode, Output, Stdio};

use anyhow::{Context, Result};
use edge_common::contract::label;
use edge_common::{Root, log};
use edge_docker_policy::cli::args::Parsed;
use edge_docker_policy::cli::commands::Command;

use super::passthrough::{become_client, client};
use super::storage_column::{self, Table};
use crate::engine::docker_cli;
use crate::stored::images;
use crate::trust;

/// Fields of docker's `images`, of which a table is made.
const IMAGES: &str = "{{.ID}}\t{{.Repository}}\t{{.Tag}}\t{{.CreatedSince}}\t{{.Size}}";
/// Number of hex digits of an ID that docker's lists have.
const SHOWN_ID_DIGITS: usize = 12;
/// Spaces between two columns.
const GAP: usize = 3;
/// Word of docker for an absent repository or tag.
const NONE: &str = "<none>";

/// Carries out `ps`. Where storage is not limited, the process becomes docker's client.
pub(super) fn containers(root: &Root, parsed: &Parsed<'_>) -> Result<ExitCode> {
    let is_docker = parsed.last("format").is_some() || parsed.is_set("quiet");
    if is_docker {
        become_client(root, Command::Ps, parsed)?;
        return Ok(ExitCode::SUCCESS);
    }
    let is_sized = parsed.is_set("size");
    let format = columns(is_sized);
    let usage = storage_column::usage(root).unwrap_or_else(|error| {
        log::warn(format_args!("{error:#}"));
        None
    });
    let Some(usage) = usage else {
        let format = format!("table {format}");
        become_client(root, Command::Ps, &with_format(parsed, &format))?;
        return Ok(ExitCode::SUCCESS);
    };
    let format = format!(
        "{format}\t{{{{.Label \"{}\"}}}}\t{{{{.Label \"{}\"}}}}",
        label::APP,
        label::SANDBOX
    );
    let table = Table::new(is_sized);
    print_table(root, Command::Ps, &with_format(parsed, &format), |output| {
        table.of(output, |directory| {
            storage_column::describe(&usage, directory)
        })
    })
}

/// Returns the columns of docker's `ps`. The labels are edge-docker's: an image cannot set
/// them. The first branch, which no container needs, names the column.
fn columns(is_sized: bool) -> String {
    let value = |label: &str| format!("(.Label \"{label}\")");
    let (app, version) = (value(label::APP), value(label::VERSION));
    let (sandbox, image) = (value(label::SANDBOX), value(label::IMAGE));
    let size = if is_sized { "\t{{.Size}}" } else { "" };
    format!(
        "{{{{.ID}}}}\t{{{{if and {app} {sandbox}}}}}{{{{.Image}}}}\
         {{{{else if {sandbox}}}}}{{{{{image}}}}}\
         {{{{else if {app}}}}}{{{{{app}}}}} {{{{{version}}}}}\
         {{{{else}}}}{{{{.Image}}}}{{{{end}}}}\
         \t{{{{.Command}}}}\t{{{{.RunningFor}}}}\t{{{{.Status}}}}\t{{{{.Ports}}}}\
         \t{{{{.Names}}}}{size}"
    )
}

/// Carries out `images`.
pub(super) fn images(root: &Root, parsed: &Parsed<'_>) -> Result<ExitCode> {
    let is_docker =
        parsed.last("format").is_some() || parsed.is_set("quiet") || parsed.is_set("digests");
    // Without trust anchors no name is certain.
    let names = trust::load(root).and_then(|trust| images::names(root, &trust));
    let names = match names {
        Ok(names) if !is_docker => names,
        Err(error) if !is_docker => {
            log::warn(format_args!("apps and versions are not shown: {error:#}"));
            become_client(root, Command::Images, parsed)?;
            return Ok(ExitCode::SUCCESS);
        }
        _ => {
            become_client(root, Command::Images, parsed)?;
            return Ok(ExitCode::SUCCESS);
        }
    };
    let is_whole = parsed.is_set("no-trunc");
    let mut asked = with_format(parsed, IMAGES);
    asked.options.push(("no-trunc", "true"));
    print_table(root, Command::Images, &asked, |output| {
        table(output, &names, is_whole)
    })
}

/// Runs docker's client, and prints the table that `table` makes of its output. Returns the
/// exit code of the client.
fn print_table(
    root: &Root,
    command: Command,
    asked: &Parsed<'_>,
    table: impl FnOnce(&str) -> String,
) -> Result<ExitCode> {
    docker_cli::limit_memory();
    let mut docker = client(root, command, asked);
    let output = docker
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output();
    let output = output.context("starting docker")?;
    if !output.status.success() {
        return Ok(exit_code(&output));
    }
    let table = table(&String::from_utf8_lossy(&output.stdout));
    // A pipe that is closed, for example by `head`, is no failure of the command.
    let _ = std::io::stdout().write_all(table.as_bytes());
    Ok(exit_code(&output))
}

fn exit_code(output: &Output) -> ExitCode {
    let code = output.status.code();
    let code = code.and_then(|code| u8::try_from(code).ok());
    code.unwrap_or(1).into()
}

fn with_format<'a>(parsed: &Parsed<'a>, format: &'a str) -> Parsed<'a> {
    let mut options = parsed.options.clone();
    options.push(("format", format));
    Parsed {
        options,
        arguments: parsed.arguments.clone(),
    }
}

/// Returns the table of images from the output of docker's client, with the names of the
/// signed ones by their IDs.
fn table(output: &str, names: &BTreeMap<String, String>, is_whole: bool) -> String {
    let mut rows = vec![["IMAGE", "IMAGE ID", "CREATED", "SIZE"].map(String::from)];
    for line in output.lines() {
        let [id, repository, tag, created, size] = line.split('\t').collect::<Vec<_>>()[..] else {
            continue;
        };
        let shown = match is_whole {
            true => id,
            false => {
                let hex = id.strip_prefix("sha256:").unwrap_or(id);
                hex.get(..SHOWN_ID_DIGITS).unwrap_or(hex)
            }
        };
        let by_docker = match (repository, tag) {
            (NONE, NONE) => NONE.to_string(),
            (repository, NONE) => repository.to_string(),
            (repository, tag) => format!("{repository}:{tag}"),
        };
        // A sandbox image is typed by its name, whoever has signed the same content.
        let signed = names
            .get(id)
            .filter(|_| !repository.starts_with("sandbox/"));
        let name = signed.cloned().unwrap_or(by_docker);
        rows.push([name, shown.into(), created.into(), size.into()]);
    }
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max();
    let widths = [0, 1, 2].map(|column| width(column).unwrap_or(0) + GAP);
    let line = |row: &[String; 4]| {
        let [name, id, created, size] = row;
        let [first, second, third] = widths;
        format!("{name:first$}{id:second$}{created:third$}{size}\n")
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signed_images_have_app_and_version() {
        let ids = [1, 2, 3, 4].map(|n| format!("sha256:{}", n.to_string().repeat(64)));
        let output = format!(
            "{}\thost/edge\t<none>\t2 days ago\t5MB\n{}\tsandbox/b\tlatest\tnow\t1MB\n\
             {}\t<none>\t<none>\tnow\t1MB\n{}\thost/x\tv1\tnow\t1MB\nodd line\n",
            ids[0], ids[1], ids[2], ids[3]
        );
        let names = [
            (ids[0].clone(), "hello 1.2".into()),
            (ids[1].clone(), "b 9".into()),
        ];
        let names = BTreeMap::from(names);
        let lines = table(&output, &names, false);
        let lines: Vec<_> = lines.lines().collect();
        assert_eq!(
            lines,
            [
                "IMAGE              IMAGE ID       CREATED      SIZE",
                "hello 1.2          111111111111   2 days ago   5MB",
                "sandbox/b:latest   222222222222   now          1MB",
                "<none>             333333333333   now          1MB",
                "host/x:v1          444444444444   now          1MB",
            ]
        );
        assert!(table(&output, &names, true).contains(&ids[3]));
        assert_eq!(table("", &names, false).lines().count(), 1);
    }
}
