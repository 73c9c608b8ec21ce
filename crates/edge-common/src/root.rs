//! Root directory below which a tool finds the files of the device.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Root directory below which a tool finds files and programs: `/` in every shipped
/// program, a temporary directory in tests. No option or environment variable changes
/// it, because edge-docker does not trust its callers.
#[derive(Clone, Debug)]
pub struct Root(PathBuf);

impl Root {
    /// Returns the root `/` of the running system.
    pub fn system() -> Self {
        Self(PathBuf::from("/"))
    }

    /// Returns a root at `directory`, for tests.
    pub fn at(directory: impl Into<PathBuf>) -> Self {
        Self(directory.into())
    }

    /// Returns the location of `path`, an absolute path on the device, below this root:
    /// for example `/tmp/x/etc` for `/etc` below the root `/tmp/x`.
    pub fn path(&self, path: impl AsRef<Path>) -> PathBuf {
        let path = path.as_ref();
        self.0.join(path.strip_prefix("/").unwrap_or(path))
    }

    /// Returns a command that runs `program`, an absolute path on the device, below
    /// this root.
    #[expect(clippy::disallowed_methods, reason = "this is the replacement")]
    pub fn command(&self, program: impl AsRef<Path>) -> Command {
        Command::new(self.path(program))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn absolute_paths_are_below_the_root() {
        let root = Root::at("/tmp/x");
        assert_eq!(root.path("/etc/passwd"), Path::new("/tmp/x/etc/passwd"));
        assert_eq!(Root::system().path("/etc"), Path::new("/etc"));
        assert_eq!(
            root.command("/usr/bin/true").get_program(),
            "/tmp/x/usr/bin/true"
        );
    }
}
