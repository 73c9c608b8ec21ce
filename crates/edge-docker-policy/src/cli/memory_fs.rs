//! Parser for `--mount`, and for the mount options of a file system in memory (`tmpfs`).

use anyhow::Result;

use crate::cli::quantities::memory_fs_bytes;
use crate::cli::values::{self, number};
use crate::limits::MAX_ID;
use crate::mounts::RequestedMount;
use crate::refusal::refuse;

/// Mount that `--mount` requests.
pub(crate) enum MountOption {
    /// `type=bind`: a directory of the app, judged later by the policy.
    Bind(RequestedMount),
    /// `type=tmpfs`: path in the container, and mount options.
    Memory(String, String),
}

/// Parses the value of `--mount`: `type=bind,source=…,target=…[,readonly]`, or
/// `type=tmpfs,target=…[,tmpfs-size=…][,tmpfs-mode=…]`.
pub(crate) fn mount(text: &str) -> Result<MountOption> {
    let (mut kind, mut source, mut target, mut read_only) = ("", "", "", false);
    let mut options = Vec::new();
    // Quotes of CSV, which docker interprets, are not supported: a quoted field is
    // unknown here and therefore refused.
    for field in text.split(',') {
        let (key, value) = field.split_once('=').unwrap_or((field, ""));
        match key {
            "type" => kind = value,
            "source" | "src" => source = value,
            "target" | "dst" | "destination" => target = value,
            "readonly" | "ro" if ["", "true", "1"].contains(&value) => read_only = true,
            "readonly" | "ro" if ["false", "0"].contains(&value) => read_only = false,
            "tmpfs-size" => options.push(format!("size={value}")),
            "tmpfs-mode" => options.push(format!("mode={value}")),
            _ => {
                return Err(refuse(format_args!(
                    "--mount {field:?} is refused: only type, source, target, readonly, \
                     tmpfs-size and tmpfs-mode"
                )));
            }
        }
    }
    let target = values::target("mount", target)?;
    match kind {
        // A type is required: without one, docker would create a volume.
        "bind" if options.is_empty() => Ok(MountOption::Bind(RequestedMount {
            source: source.into(),
            target,
            read_only,
        })),
        "tmpfs" if source.is_empty() => {
            if read_only {
                options.push("ro".into());
            }
            Ok(MountOption::Memory(target, tmpfs(&options.join(","))?))
        }
        _ => Err(refuse(format_args!(
            "--mount type={kind} is refused: only bind, and tmpfs without a source"
        ))),
    }
}

/// Checks the mount options of a tmpfs, for example `size=64m,noexec`; returns them with
/// sizes in bytes.
pub(crate) fn tmpfs(options: &str) -> Result<String> {
    let options = options.split(',').filter(|o| !o.is_empty());
    let checked: Result<Vec<_>> = options.map(option).collect();
    Ok(checked?.join(","))
}

fn option(text: &str) -> Result<String> {
    let error = || refuse(format_args!("--tmpfs option {text:?} is refused"));
    let (key, value) = text.split_once('=').unwrap_or((text, ""));
    match key {
        // `suid` and `dev` are refused: by default, docker mounts a tmpfs with `nosuid`
        // and `nodev`.
        "rw" | "ro" | "noexec" | "exec" | "nosuid" | "nodev" if !text.contains('=') => {
            Ok(text.into())
        }
        // The kernel knows no decimals, so that it gets the number of bytes.
        "size" => Ok(format!("size={}", memory_fs_bytes("tmpfs", value)?)),
        "mode" => {
            let octal = value.bytes().all(|b| (b'0'..=b'7').contains(&b));
            let mode = u32::from_str_radix(value, 8)
                .ok()
                .filter(|m| octal && *m <= 0o1777);
            mode.map(|_| text.into()).ok_or_else(error)
        }
        "uid" | "gid" => number("tmpfs", value, 0..=MAX_ID).map(|_| text.into()),
        _ => Err(error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_a_tmpfs() {
        for (text, wanted) in [
            ("", ""),
            (
                "size=64m,mode=1777,noexec",
                "size=67108864,mode=1777,noexec",
            ),
            ("size=1.5k,uid=1000,gid=0", "size=1536,uid=1000,gid=0"),
        ] {
            assert_eq!(tmpfs(text).unwrap(), wanted);
        }
        for text in [
            "suid",
            "dev",
            "mpol=bind",
            "size=",
            "size=50%",
            "size=65g",
            "mode=4755",
            "mode=9",
            "mode=",
            "uid=-1",
            "uid=99999999999",
            "uid=",
            "exec=1",
            "huge=always",
            "nr_inodes=0",
        ] {
            assert!(tmpfs(text).is_err(), "{text}");
        }
    }

    #[test]
    fn mounts_in_memory_have_options_and_others_none() {
        let text = "type=tmpfs,target=/cache,tmpfs-size=1000000000,tmpfs-mode=1770,readonly";
        let MountOption::Memory(target, options) = mount(text).unwrap() else {
            panic!("{text}");
        };
        assert_eq!(
            (&target[..], &options[..]),
            ("/cache", "size=1000000000,mode=1770,ro")
        );
        for text in [
            "type=bind,source=/data/apps/a,target=/a,tmpfs-size=1",
            "type=tmpfs,source=x,target=/a",
            "type=tmpfs,target=/proc/x",
            "type=tmpfs,target=/a,tmpfs-mode=7777",
            "type=tmpfs,target=/a,tmpfs-size=-1",
        ] {
            assert!(mount(text).is_err(), "{text}");
        }
    }
}
