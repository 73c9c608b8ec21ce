//! The one prefix below which a tool sees files and programs.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The root of the file system that a tool works on: `/` in every shipped
/// program, a temporary directory in tests. No flag or variable moves it.
#[derive(Clone, Debug)]
pub struct Root(PathBuf);

impl Root {
    /// The real root, `/`.
    pub fn system() -> Self {
        Self(PathBuf::from("/"))
    }

    /// A root elsewhere, for tests.
    pub fn at(directory: impl Into<PathBuf>) -> Self {
        Self(directory.into())
    }

    /// Where the absolute path `path` of the device lies.
    pub fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.0.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// A command for the program at the absolute path `program` of the device.
    #[expect(clippy::disallowed_methods, reason = "this is the replacement")]
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        Command::new(self.path(program))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absolute_paths_land_below_the_root() {
        let root = Root::at("/tmp/x");
        assert_eq!(root.path("/etc/passwd"), Path::new("/tmp/x/etc/passwd"));
        assert_eq!(Root::system().path("/etc"), Path::new("/etc"));
        assert_eq!(
            root.command("/usr/bin/true").get_program(),
            "/tmp/x/usr/bin/true"
        );
    }
}
