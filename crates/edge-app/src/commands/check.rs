//! `check`: says what is wrong with an app before it is pushed, without a network.

use std::path::Path;

use anyhow::Result;
use edge_app_spec::{Image, Spec};
use edge_common::exit::Failure;
use edge_common::file;
use edge_common::log;
use edge_docker_policy::grants::Table;
use serde::Serialize;

use crate::exit_code::{CONFIGURATION, REFUSED};
use crate::image::docker;
use crate::output::table;
use crate::project::app::App;
use crate::project::config::{MAX_FILE_BYTES, Project};

/// Grants of a device whose image defines no others.
const DEFAULT_TABLE: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../../yocto/meta-edge-secure/recipes-edge/edge-policy/files/devices.json"
));

/// Output of `check --json`; each entry is one line.
#[derive(Default, Serialize)]
struct Report {
    app: String,
    /// Mistakes of `app.yaml`.
    errors: Vec<String>,
    /// Settings that a device would refuse.
    refused: Vec<String>,
    warnings: Vec<String>,
}

/// Checks the app `name` against the grants in `devices`, by default those of the
/// image's own table.
pub(super) async fn check(
    project: &Project,
    name: &str,
    devices: Option<&Path>,
    json: bool,
) -> Result<()> {
    let mut report = Report {
        app: name.into(),
        ..Report::default()
    };
    let table = grants(devices)?;
    match App::load(project, name) {
        Ok(app) => {
            report.refused = app.spec.refusals(&table);
            report.warnings = app.spec.warnings().to_vec();
            if let Some(image) = image(&app).await {
                report.warnings.extend(app.spec.image_warnings(&image));
            }
        }
        Err(error) => report.errors = format!("{error:#}").lines().map(String::from).collect(),
    }
    if json {
        table::print_json(&report)?;
    } else {
        for warning in &report.warnings {
            log::warn(warning);
        }
    }
    let result = |code, lines: &[String], end: &str| match lines {
        [] => Ok(()),
        lines if json => {
            let why = format!("{name}: {} {end}", lines.len());
            Err(Failure::error(code, why))
        }
        lines => Err(Failure::error(code, lines.join("\n"))),
    };
    result(CONFIGURATION, &report.errors, "mistakes")?;
    result(REFUSED, &report.refused, "settings are refused")?;
    if !json {
        println!("{name}: a device takes it");
    }
    Ok(())
}

/// Returns what a device with the default grants would refuse of an app.
pub(super) fn refusals(spec: &Spec) -> Result<Vec<String>> {
    Ok(spec.refusals(&grants(None)?))
}

fn grants(devices: Option<&Path>) -> Result<Table> {
    let text = match devices {
        Some(path) => file::read_text(path, MAX_FILE_BYTES)
            .map_err(|error| Failure::wrap(CONFIGURATION, error))?,
        None => DEFAULT_TABLE.to_string(),
    };
    Table::parse(text.as_bytes()).map_err(|error| {
        let file = devices.unwrap_or(Path::new("devices.json"));
        let error = error.context(format!("reading {}", file.display()));
        Failure::wrap(CONFIGURATION, error)
    })
}

/// Returns the properties of the app's image: of the one that `sandbox` has built, or
/// else of the Dockerfile. `None` for an app whose image comes from elsewhere.
async fn image(app: &App) -> Option<Image> {
    let text = file::read_text(&app.directory.join("Dockerfile"), MAX_FILE_BYTES).ok();
    let written = text.map(|text| Image::from_dockerfile(&text))?;
    // The image knows also what its base declares. Without docker, or before the first
    // build, the Dockerfile alone is judged.
    match docker::properties(&format!("sandbox/{}:latest", app.name)).await {
        Ok((user, mut volumes)) => {
            volumes.extend(written.volumes);
            volumes.sort();
            volumes.dedup();
            let base = written.base;
            Some(Image {
                user,
                volumes,
                base,
            })
        }
        Err(_) => Some(written),
    }
}
