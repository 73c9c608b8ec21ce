//! `--env-file`: environment variables from a file below the app's directory. edge-docker
//! opens the file itself, because docker's client would read any file of the device as
//! root.

use std::fs::File;
use std::io::{self, Read};

use anyhow::{Context, Result};
use edge_common::Root;
use edge_docker_policy::cli::values;
use edge_docker_policy::mounts::path_below;
use edge_docker_policy::refusal::refuse;
use rustix::fs::{FileType, OFlags};

use super::beneath;

/// Size limit of an `--env-file`, in bytes.
const MAX_ENV_FILE_BYTES: u64 = 256 * 1024;

/// Returns the variables in the file `path`, which must be below the app's directory.
pub(crate) fn read(root: &Root, directory: &str, path: &str) -> Result<Vec<String>> {
    let below = path_below(directory, path).filter(|b| !b.is_empty());
    let below = below.ok_or_else(|| {
        refuse(format_args!(
            "--env-file {path:?} is refused: it must lie below {directory}"
        ))
    })?;
    let mut text = String::new();
    // One more byte than the limit shows that a file is too large, even if it grows
    // during the read.
    let mut file = open(root, directory, below, path)?.take(MAX_ENV_FILE_BYTES + 1);
    file.read_to_string(&mut text)
        .map_err(|e| refuse(format_args!("--env-file {path:?}: {e}")))?;
    if text.len() as u64 > MAX_ENV_FILE_BYTES {
        return Err(refuse(format_args!(
            "--env-file {path:?}: larger than {MAX_ENV_FILE_BYTES} bytes"
        )));
    }
    variables(&text).with_context(|| format!("reading {path}"))
}

fn open(root: &Root, directory: &str, below: &str, path: &str) -> Result<File> {
    let (parent, app) = beneath::parent(root, directory)?;
    let opened = || -> io::Result<File> {
        let app = beneath::open(&parent, app, OFlags::PATH | OFlags::DIRECTORY)?;
        // NONBLOCK: opening a FIFO would otherwise block until somebody opens its other
        // end.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = beneath::open(&app, below, flags)?;
        match beneath::kind(&file)? {
            FileType::RegularFile => Ok(file.into()),
            _ => Err(io::Error::other("not a regular file")),
        }
    };
    opened().map_err(|e| refuse(format_args!("--env-file {path:?}: {e}")))
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
        let read = |path: &str| read(&root, "/data/apps/foo", path);
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
    }
}
