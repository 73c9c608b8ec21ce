//! Values of log options. The engine interprets them: a tag is a Go template, a number of
//! files a loop, a buffer the engine's own memory. The parser of `run` and the boot audit
//! use the same check.

use anyhow::Result;

use crate::cli::quantities::bytes;
use crate::cli::values::{bad, number, plain};
use crate::create_body::LogConfig;
use crate::limits;
use crate::refusal::refuse;

/// Files of the json-file driver without `max-file`.
const DEFAULT_FILES: i64 = 1;

/// Checks the option `key` of a log driver, with its value.
pub(crate) fn check(key: &str, value: &str) -> Result<()> {
    let named = format!("log-opt {key}");
    let size = |bounds: &std::ops::RangeInclusive<i64>, wanted: &str| match bytes(&named, value) {
        Ok(size) if bounds.contains(&size) => Ok(()),
        _ => Err(bad(&named, value, wanted)),
    };
    match key {
        "max-size" => size(&limits::LOG_FILE_BYTES, "a size from 1k to 4g"),
        "max-buffer-size" => size(&limits::LOG_BUFFER_BYTES, "a size from 1k to 16m"),
        "max-file" => number(&named, value, limits::LOG_FILES).map(drop),
        "compress" if ["true", "false"].contains(&value) => Ok(()),
        "compress" => Err(bad(&named, value, "true or false")),
        "mode" if limits::LOG_MODES.contains(&value) => Ok(()),
        "mode" => Err(bad(&named, value, "blocking or non-blocking")),
        "tag" if limits::LOG_TAG_TEMPLATES.contains(&value) => Ok(()),
        "tag" => match plain(&named, value) {
            Ok(_) => Ok(()),
            Err(_) => Err(bad(&named, value, "a plain word, {{.Name}} or {{.ID}}")),
        },
        _ => Err(refuse(format_args!(
            "--log-opt {key} is refused: only {}",
            limits::LOG_OPTIONS.join(", ")
        ))),
    }
}

/// Checks that all log files of a container together have at most 4 GiB.
pub(crate) fn check_total(config: &LogConfig) -> Result<()> {
    let option = |key: &str| config.config.get(key).map(String::as_str);
    let Some(size) = option("max-size") else {
        return Ok(());
    };
    let files = option("max-file")
        .and_then(|n| n.parse().ok())
        .unwrap_or(DEFAULT_FILES);
    match bytes("log-opt max-size", size)?.checked_mul(files) {
        Some(total) if total <= limits::MAX_LOG_BYTES => Ok(()),
        _ => Err(bad(
            "log-opt max-size",
            size,
            &format!("at most 4g in all {files} files"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_and_numbers_without_a_bound_are_refused() {
        for (key, value) in [
            ("max-size", "10m"),
            ("max-size", "0.5g"),
            ("max-file", "3"),
            ("compress", "true"),
            ("mode", "non-blocking"),
            ("max-buffer-size", "4m"),
            ("tag", "hello"),
            ("tag", "{{.Name}}"),
            ("tag", "{{.ID}}"),
        ] {
            check(key, value).unwrap();
        }
        for (key, value) in [
            ("tag", r#"{{pad "a" 1000000000000 0}}"#),
            ("tag", "{{.Name}}{{.ID}}"),
            ("tag", "{{ .Name }}"),
            ("tag", "{{.ImageName}}"),
            ("tag", r#"{{printf "%1000000000d" 1}}"#),
            ("tag", "{{.ExtraAttributes nil}}"),
            ("tag", ""),
            ("tag", "a b"),
            ("max-size", "-1"),
            ("max-size", "1"),
            ("max-size", "5g"),
            ("max-file", "0"),
            ("max-file", "1000000000"),
            ("max-file", "+3"),
            ("compress", "yes"),
            ("mode", "async"),
            ("max-buffer-size", "100g"),
            ("env", "PATH"),
            ("labels-regex", ".*"),
        ] {
            assert!(check(key, value).is_err(), "{key}={value}");
        }
    }
}
