//! Arguments of `cp`: a path in an app, and a file of the caller or a tar archive on a
//! standard stream.

use anyhow::Result;

use crate::cli::values::name;
use crate::mounts::is_plain;
use crate::refusal::refuse;

/// Path in a container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AppPath<'a> {
    /// Name of the container.
    pub container: &'a str,
    /// Path relative to the root of the container, without a slash at its ends; empty for
    /// the root.
    pub path: &'a str,
    /// Content of the directory and not the directory itself (`/data/.`).
    pub is_content: bool,
}

/// Copy between an app and its caller. A file of the caller named `-` is a tar archive on
/// a standard stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Copy<'a> {
    /// Out of an app.
    Out {
        /// Copied file or directory.
        from: AppPath<'a>,
        /// File of the caller.
        to: &'a str,
    },
    /// Into an app.
    Into {
        /// File of the caller.
        from: &'a str,
        /// Place in the app.
        to: AppPath<'a>,
    },
}

impl<'a> Copy<'a> {
    /// Parses the two arguments of `cp`, in docker's syntax.
    ///
    /// # Errors
    /// Not exactly one side is in an app, or its path is not a plain one.
    pub fn parse(args: &[&'a str]) -> Result<Self> {
        let [from, to] = args else {
            return Err(refuse(
                "cp takes APP:PATH FILE, or FILE APP:PATH; `-` is a tar archive",
            ));
        };
        match (AppPath::split(from), AppPath::split(to)) {
            (Some(_), Some(_)) => Err(refuse(
                "cp between two apps is refused: copy out of the one with `-`, then into the other",
            )),
            (None, None) => Err(refuse(format_args!(
                "cp: neither {from:?} nor {to:?} is in an app: give APP:PATH for the side in the \
                 app, and ./FILE for a file with a colon in its name"
            ))),
            (Some(app), None) => Ok(Self::Out {
                from: AppPath::new(app)?,
                to: file(to)?,
            }),
            (None, Some(app)) => Ok(Self::Into {
                from: file(from)?,
                to: AppPath::new(app)?,
            }),
        }
    }
}

/// Returns whether the arguments of a command line copy into an app: whether the last one
/// that is no option is in an app.
pub(crate) fn is_into(args: &[&str]) -> bool {
    let is_option = |arg: &&&str| arg.len() > 1 && arg.starts_with('-');
    let last = args.iter().rfind(|arg| !is_option(arg));
    last.is_some_and(|last| AppPath::split(last).is_some())
}

fn file(name: &str) -> Result<&str> {
    if name.is_empty() || name.contains('\0') {
        return Err(refuse("cp: the name of the file is empty"));
    }
    Ok(name)
}

impl<'a> AppPath<'a> {
    /// Splits `APP:PATH`; `None` for a file of the caller. As in docker, a slash or dot
    /// at the beginning makes it a file.
    fn split(argument: &'a str) -> Option<(&'a str, &'a str)> {
        let (app, path) = argument.split_once(':')?;
        (!app.is_empty() && !app.starts_with(['.', '-']) && !app.contains('/'))
            .then_some((app, path))
    }

    fn new((container, typed): (&'a str, &'a str)) -> Result<Self> {
        name("cp", container)?;
        // As in docker, a relative path begins at the root.
        let path = typed.strip_prefix('/').unwrap_or(typed);
        let (path, is_content) = match path.strip_suffix("/.") {
            Some(path) => (path, true),
            None if path == "." => ("", true),
            None => (path.strip_suffix('/').unwrap_or(path), false),
        };
        if typed.is_empty() || !path.is_empty() && !is_plain(path) {
            return Err(refuse(format_args!(
                "cp: {typed:?} is refused as a path in the app: give it in full, without .., \
                 double slashes and control characters; to copy files with such names, copy their \
                 directory"
            )));
        }
        Ok(Self {
            container,
            path,
            is_content,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn out<'a>(container: &'a str, path: &'a str, is_content: bool, to: &'a str) -> Copy<'a> {
        let from = AppPath {
            container,
            path,
            is_content,
        };
        Copy::Out { from, to }
    }

    #[test]
    fn sides_of_a_copy() {
        for (from, to, expected) in [
            ("lamp:/data/log", "-", out("lamp", "data/log", false, "-")),
            (
                "lamp:/data/log/",
                "log",
                out("lamp", "data/log", false, "log"),
            ),
            ("lamp:data/.", "./a:b", out("lamp", "data", true, "./a:b")),
            ("lamp:/", "/tmp/a:b", out("lamp", "", false, "/tmp/a:b")),
            ("lamp:/.", "x", out("lamp", "", true, "x")),
            ("lamp:/a:b", "x", out("lamp", "a:b", false, "x")),
        ] {
            assert_eq!(
                Copy::parse(&[from, to]).unwrap(),
                expected,
                "{from:?} {to:?}"
            );
        }
        let into = Copy::parse(&["-", "lamp:/data"]).unwrap();
        assert!(matches!(into, Copy::Into { from: "-", to } if to.path == "data"));
    }

    #[test]
    fn refused_sides() {
        for (args, text) in [
            (&["lamp:/data"][..], "cp takes APP:PATH FILE"),
            (&["a", "b", "c"], "cp takes APP:PATH FILE"),
            (&["lamp:/a", "lamp:/b"], "between two apps"),
            (&["a", "b"], "neither \"a\" nor \"b\""),
            (&["/etc/x:y", "-"], "neither"),
            (&["./lamp:/data", "-"], "neither"),
            (&[":/data", "-"], "neither"),
            (&["lamp:", "-"], "as a path in the app"),
            (&["lamp:/data/../etc", "-"], "without .."),
            (&["lamp:/..", "-"], "without .."),
            (&["lamp:/data//x", "-"], "double slashes"),
            (&["lamp:/data/./x", "-"], "as a path in the app"),
            (&["lamp:/da\nta", "-"], "control characters"),
            (&["lamp:/data", ""], "is empty"),
            (&["la mp:/data", "-"], "cp"),
        ] {
            let error = Copy::parse(args).unwrap_err().to_string();
            assert!(error.contains(text), "{args:?}: {error}");
        }
    }

    #[test]
    fn directions_decide_the_level() {
        for out in [
            &["lamp:/data", "-"][..],
            &["-q", "lamp:/data", "x"],
            &["lamp:/data/../x", "-"],
            &["x", "y"],
            &[],
        ] {
            assert!(!is_into(out), "{out:?}");
        }
        for into in [
            &["-", "lamp:/data"][..],
            &["x", "lamp:/data"],
            &["x", "lamp:/data", "-q"],
            &["--", "-x", "lamp:/data"],
            &["lamp:/data", "other:/data"],
            &["lamp:/data", "-", "lamp:/data"],
        ] {
            assert!(is_into(into), "{into:?}");
        }
    }
}
