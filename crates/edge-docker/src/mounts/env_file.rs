//! `--env-file`: environment variables from a file below the app's directory. edge-docker
//! opens the file itself, because docker's client would read any file of the device as
//! root.

use std::fs::File;
use std::io::{self, Read};

use anyhow::{Context, Result};
use edge_common::Root;
use edge_docker_policy::cli::request::EnvFile;
use edge_docker_policy::cli::values;
use edge_docker_policy::mounts::path_below;
use edge_docker_policy::refusal::refuse;
use rustix::fs::{FileType, OFlags};

use super::{beneath, unit_variables};

/// Size limit of an `--env-file`, in bytes.
const MAX_ENV_FILE_BYTES: u64 = 256 * 1024;

/// Returns the variables in a file, which must be below the app's directory.
pub(crate) fn read(root: &Root, directory: &str, file: &EnvFile) -> Result<Vec<String>> {
    let path = &file.path;
    let below = path_below(directory, path).filter(|b| !b.is_empty());
    let below = below.ok_or_else(|| {
        refuse(format_args!(
            "--env-file {path:?} is refused: it must lie below {directory}"
        ))
    })?;
    let opened = match open(root, directory, below) {
        Ok(opened) => opened,
        Err(error) if file.optional && error.kind() == io::ErrorKind::NotFound => {
            return Ok(Vec::new());
        }
        Err(error) => return Err(refuse(format_args!("--env-file {path:?}: {error}"))),
    };
    let mut text = String::new();
    // One more byte than the limit shows that a file is too large, even if it grows
    // during the read.
    let mut opened = opened.take(MAX_ENV_FILE_BYTES + 1);
    opened
        .read_to_string(&mut text)
        .map_err(|e| refuse(format_args!("--env-file {path:?}: {e}")))?;
    if text.len() as u64 > MAX_ENV_FILE_BYTES {
        return Err(refuse(format_args!(
            "--env-file {path:?}: larger than {MAX_ENV_FILE_BYTES} bytes"
        )));
    }
    let variables = match file.systemd {
        true => unit_variables::parse(&text),
        false => variables(&text),
    };
    variables.with_context(|| format!("reading {path}"))
}

fn open(root: &Root, directory: &str, below: &str) -> io::Result<File> {
    let (parent, app) = beneath::parent(root, directory).map_err(io::Error::other)?;
    let app = beneath::open(&parent, app, OFlags::PATH | OFlags::DIRECTORY)?;
    // NONBLOCK: opening a FIFO would otherwise block until somebody opens its other
    // end.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = beneath::open(&app, below, flags)?;
    match beneath::kind(&file)? {
        FileType::RegularFile => Ok(file.into()),
        _ => Err(io::Error::other("not a regular file")),
    }
}

/// Parses the text of an `--env-file` as docker does: one `KEY=VALUE` per line, apart
/// from comments and empty lines.
fn variables(text: &str) -> Result<Vec<String>> {
    let lines = text.trim_start_matches('\u{feff}').lines();
    let lines = lines.map(|l| l.trim_start_matches([' ', '\t']));
    let lines = lines.filter(|l| !l.is_empty() && !l.starts_with('#'));
    lines
        .map(|line| {
            let key = line.split('=').next().unwrap_or_default();
            if key.contains(char::is_whitespace) || line.contains('\0') {
                return Err(refuse(format_args!("variable {key:?}: not a name")));
            }
            values::environment(line)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn only_files_below_the_directory() {
        let directory = tempfile::tempdir().unwrap();
        let app = directory.path().join("data/apps/foo");
        std::fs::create_dir_all(&app).unwrap();
        let root = Root::at(directory.path());
        let put = |name: &str, text: &[u8]| {
            edge_common::file::write(&app.join(name), text, 0o600).unwrap();
        };
        put("good", b"# comment\n\n  A=1\nB=x y=z\n");
        put("bare", b"HOME\n");
        put("large", &vec![b'a'; 300 * 1024]);
        put("binary", b"A=\xff\xfe\n");
        symlink("/etc/passwd", app.join("link")).unwrap();
        symlink("/etc", app.join("etc")).unwrap();
        let file = |path: &str| EnvFile {
            path: path.into(),
            systemd: false,
            optional: false,
            after: None,
        };
        let read = |path: &str| read(&root, "/data/apps/foo", &file(path));
        assert_eq!(read("/data/apps/foo/good").unwrap(), ["A=1", "B=x y=z"]);
        for bad in [
            "bare",
            "large",
            "binary",
            "link",
            "etc/passwd",
            "absent",
            "",
            "../foo/good",
        ] {
            assert!(read(&format!("/data/apps/foo/{bad}")).is_err(), "{bad}");
        }
        assert!(read("/etc/passwd").is_err());
        let optional = |directory: &str, path: &str| {
            let file = EnvFile {
                optional: true,
                systemd: true,
                ..file(path)
            };
            super::read(&root, directory, &file)
        };
        let absent = optional("/data/apps/foo", "/data/apps/foo/absent").unwrap();
        assert!(absent.is_empty());
        let absent = optional("/data/apps/new", "/data/apps/new/absent").unwrap();
        assert!(absent.is_empty());
        for bad in ["link", "etc/passwd", "binary", "bare"] {
            let path = format!("/data/apps/foo/{bad}");
            assert!(optional("/data/apps/foo", &path).is_err(), "{bad}");
        }
    }
}
