//! `--env-file`: a file below the app's directory, opened by us.

use std::io::Read;

use anyhow::{Context, Result};
use edge_common::Root;
use rustix::fs::{CWD, FileType, Mode, OFlags, ResolveFlags, fstat, openat2};

use edge_docker_policy::cli::values;
use edge_docker_policy::mounts::path_below;
use edge_docker_policy::refusal::refuse;

/// Largest file, in bytes.
const LARGEST: u64 = 256 * 1024;

/// Variables of `path`, which must lie below `directory`; links are refused.
///
/// # Errors
/// Refused: elsewhere, not a file, too large, or a line that is no `KEY=VALUE`.
pub fn read(root: &Root, directory: &str, path: &str) -> Result<Vec<String>> {
    let below = path_below(directory, path).filter(|b| !b.is_empty());
    let below = below.ok_or_else(|| {
        refuse(format_args!(
            "--env-file {path:?} is refused: it must lie below {directory}"
        ))
    })?;
    let text = open(root, directory, below).and_then(|mut file| {
        let mut text = String::new();
        file.by_ref().take(LARGEST + 1).read_to_string(&mut text)?;
        Ok(text)
    });
    let text = text.map_err(|e| refuse(format_args!("--env-file {path:?}: {e}")))?;
    if text.len() as u64 > LARGEST {
        return Err(refuse(format_args!(
            "--env-file {path:?}: larger than {LARGEST} bytes"
        )));
    }
    variables(&text).with_context(|| format!("reading {path}"))
}

fn open(root: &Root, directory: &str, below: &str) -> std::io::Result<std::fs::File> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let parent = openat2(
        CWD,
        root.path(directory),
        flags | OFlags::NOFOLLOW,
        Mode::empty(),
        ResolveFlags::NO_MAGICLINKS,
    )?;
    let resolve = ResolveFlags::BENEATH
        | ResolveFlags::NO_SYMLINKS
        | ResolveFlags::NO_MAGICLINKS
        | ResolveFlags::NO_XDEV;
    // Without waiting for the other end of a FIFO.
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
    let file = openat2(&parent, below, flags, Mode::empty(), resolve)?;
    if FileType::from_raw_mode(fstat(&file)?.st_mode) != FileType::RegularFile {
        return Err(std::io::Error::other("not a regular file"));
    }
    Ok(file.into())
}

/// As docker reads it: comments and empty lines apart, `KEY=VALUE` a line.
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
        put("good", b"# words\n\n  A=1\nB=x y=z\n");
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
