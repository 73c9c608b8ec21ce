//! Reading of small files that may be absent or damaged; every error becomes `None`.

use std::fs::File;
use std::io::Read;

use edge_common::{Root, file};

/// Maximum number of bytes that are read from a file.
pub(crate) const MAX_TEXT_BYTES: u64 = 64 * 1024;
/// Size limit of a file that contains a single line, in bytes.
const MAX_LINE_FILE_BYTES: u64 = 256;

/// Reads a file of `/proc` or `/sys` as text, at most [`MAX_TEXT_BYTES`].
pub(crate) fn text(root: &Root, path: &str) -> Option<String> {
    // Files in /proc report a size of 0, so the content is read until its end.
    let mut text = String::new();
    let opened = File::open(root.path(path)).ok()?;
    opened.take(MAX_TEXT_BYTES).read_to_string(&mut text).ok()?;
    Some(text)
}

/// Reads the first line of a small file. Returns `None` if the line is empty or
/// contains a control character.
pub(crate) fn line(root: &Root, path: &str) -> Option<String> {
    let text = file::read_text(&root.path(path), MAX_LINE_FILE_BYTES).ok()?;
    let line = text.lines().next()?.trim();
    (!line.is_empty() && !line.contains(char::is_control)).then(|| line.to_string())
}

/// Creates a temporary root with these paths and contents, for tests.
#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "for tests")]
pub(crate) fn root_with(files: &[(&str, &str)]) -> (tempfile::TempDir, Root) {
    let directory = tempfile::tempdir().unwrap();
    let root = Root::at(directory.path());
    for (path, text) in files {
        let path = root.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    (directory, root)
}
