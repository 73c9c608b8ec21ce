//! Table of all options of `docker run` and `docker create` (docker 20.10 to 28), with
//! the policy's verdict on each. A test compares the table with the `--help` of the
//! installed client, so that a new option of docker fails a test instead of being refused
//! without a reason.

use crate::cli::args::{Known, flag, value};

/// Verdict of the policy on an option of `run` and `create`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Accepted if its value is valid; no grant is needed.
    Allowed,
    /// Accepted only if a grant of the image permits the requested value.
    Granted,
    /// Refused for this reason. A flag is accepted with `=false`, which requests nothing.
    Refused(&'static str),
}

use Verdict::{Allowed, Granted, Refused};

// In a namespace of the host, a container could observe, signal or reconfigure processes
// and interfaces of the device.
const NAMESPACES: Verdict = Refused("namespaces of the host are not shared");
// Docker's client opens these files itself, so that neither the engine nor its plugin
// could check them.
const FILES: Verdict = Refused("it would read or write files of the device as root");
const DISKS: Verdict = Refused("limits of disks are not set by apps");
const CPU: Verdict = Refused("use --cpus or --cpu-shares");
const NAMES: Verdict =
    Refused("use --dns or --add-host; how names are looked up belongs to the device");
const WINDOWS: Verdict = Refused("it is for Windows containers");
// With --oom-score-adj=-1000, the OOM killer of the kernel would end services of the
// device instead of the container.
const KERNEL: Verdict = Refused("the kernel's own protection stays as it is");
const ADDRESSES: Verdict = Refused("addresses are given by the engine");

/// Options of docker, each with its verdict.
const OPTIONS: &[(Known, Verdict)] = &[
    (flag('d', "detach"), Allowed),
    (flag('i', "interactive"), Allowed),
    (flag('t', "tty"), Allowed),
    (flag(' ', "rm"), Allowed),
    (flag(' ', "init"), Allowed),
    (flag(' ', "read-only"), Allowed),
    (flag(' ', "no-healthcheck"), Allowed),
    (flag(' ', "sig-proxy"), Allowed),
    (flag('q', "quiet"), Allowed),
    (value(' ', "name"), Allowed),
    (value(' ', "restart"), Allowed),
    (value('e', "env"), Allowed),
    (value(' ', "env-file"), Allowed),
    (value('l', "label"), Allowed),
    (value('p', "publish"), Allowed),
    (value(' ', "expose"), Allowed),
    (value(' ', "network"), Allowed),
    (value(' ', "net"), Allowed),
    (value(' ', "network-alias"), Allowed),
    (value(' ', "net-alias"), Allowed),
    (value(' ', "dns"), Allowed),
    (value(' ', "add-host"), Allowed),
    (value('h', "hostname"), Allowed),
    (value('u', "user"), Allowed),
    // A process in a group can open what the group may: the mounts and devices of the
    // container, which the policy has judged for root.
    (value(' ', "group-add"), Allowed),
    (value('w', "workdir"), Allowed),
    (value(' ', "entrypoint"), Allowed),
    (value(' ', "tmpfs"), Allowed),
    (value(' ', "shm-size"), Allowed),
    (value('m', "memory"), Allowed),
    (value(' ', "memory-reservation"), Allowed),
    (value(' ', "memory-swap"), Allowed),
    (value(' ', "cpus"), Allowed),
    (value('c', "cpu-shares"), Allowed),
    (value(' ', "cpuset-cpus"), Allowed),
    (value(' ', "pids-limit"), Allowed),
    (value(' ', "ulimit"), Allowed),
    (value(' ', "health-cmd"), Allowed),
    (value(' ', "health-interval"), Allowed),
    (value(' ', "health-timeout"), Allowed),
    (value(' ', "health-start-period"), Allowed),
    (value(' ', "health-start-interval"), Allowed),
    (value(' ', "health-retries"), Allowed),
    (value(' ', "log-driver"), Allowed),
    (value(' ', "log-opt"), Allowed),
    (value(' ', "stop-signal"), Allowed),
    (value(' ', "stop-timeout"), Allowed),
    (value(' ', "cap-drop"), Allowed),
    (value(' ', "security-opt"), Allowed),
    (value(' ', "pull"), Allowed),
    (value('v', "volume"), Allowed),
    (value(' ', "mount"), Allowed),
    (value('a', "attach"), Allowed),
    (value(' ', "gpus"), Granted),
    (value(' ', "runtime"), Granted),
    (value(' ', "device"), Granted),
    (value(' ', "cap-add"), Granted),
    (value(' ', "sysctl"), Granted),
    (flag(' ', "privileged"), Refused("it would lift every rule")),
    (
        flag(' ', "use-api-socket"),
        Refused("the engine's socket is root's alone"),
    ),
    (
        flag('P', "publish-all"),
        Refused("name each port with --publish"),
    ),
    (
        flag(' ', "oom-kill-disable"),
        Refused("a full memory would stop the device"),
    ),
    (
        flag(' ', "disable-content-trust"),
        Refused("what is trusted is decided by the image of the device"),
    ),
    (value(' ', "pid"), NAMESPACES),
    (value(' ', "ipc"), NAMESPACES),
    (value(' ', "uts"), NAMESPACES),
    (value(' ', "userns"), NAMESPACES),
    (value(' ', "cgroupns"), NAMESPACES),
    (value(' ', "cgroup-parent"), NAMESPACES),
    (value(' ', "label-file"), FILES),
    (value(' ', "cidfile"), FILES),
    (value(' ', "blkio-weight"), DISKS),
    (value(' ', "blkio-weight-device"), DISKS),
    (value(' ', "device-read-bps"), DISKS),
    (value(' ', "device-read-iops"), DISKS),
    (value(' ', "device-write-bps"), DISKS),
    (value(' ', "device-write-iops"), DISKS),
    (value(' ', "io-maxbandwidth"), DISKS),
    (value(' ', "io-maxiops"), DISKS),
    (value(' ', "storage-opt"), DISKS),
    (value(' ', "cpu-period"), CPU),
    (value(' ', "cpu-quota"), CPU),
    (value(' ', "cpu-rt-period"), CPU),
    (value(' ', "cpu-rt-runtime"), CPU),
    (value(' ', "cpu-count"), CPU),
    (value(' ', "cpu-percent"), CPU),
    (value(' ', "cpuset-mems"), CPU),
    (value(' ', "dns-option"), NAMES),
    (value(' ', "dns-opt"), NAMES),
    (value(' ', "dns-search"), NAMES),
    (value(' ', "domainname"), NAMES),
    (value(' ', "link"), NAMES),
    (value(' ', "ip"), ADDRESSES),
    (value(' ', "ip6"), ADDRESSES),
    (value(' ', "link-local-ip"), ADDRESSES),
    (value(' ', "mac-address"), ADDRESSES),
    (value(' ', "isolation"), WINDOWS),
    (value(' ', "kernel-memory"), KERNEL),
    (value(' ', "memory-swappiness"), KERNEL),
    (value(' ', "oom-score-adj"), KERNEL),
    // Such a rule permits device numbers, and a container can create the device nodes for
    // them itself.
    (
        value(' ', "device-cgroup-rule"),
        Refused("devices come with a grant that names them"),
    ),
    (
        value(' ', "volumes-from"),
        Refused("another container's directories are not this app's"),
    ),
    (
        value(' ', "volume-driver"),
        Refused("an app mounts its own directory and nothing else"),
    ),
    (
        value(' ', "annotation"),
        Refused("annotations reach the runtime, not the app"),
    ),
    (
        value(' ', "detach-keys"),
        Refused("the keys to detach are docker's own"),
    ),
    (
        value(' ', "platform"),
        Refused("an image that is here has one platform"),
    ),
];

/// Options that only edge-docker has. They are separate because a test compares
/// [`OPTIONS`] with docker's client.
const OWN_OPTIONS: &[(Known, Verdict)] = &[
    (value(' ', "grant"), Granted),
    (flag(' ', "allow-downgrade"), Allowed),
];

/// Returns the options of docker and those that only edge-docker has, with their
/// verdicts.
pub(crate) fn all() -> impl Iterator<Item = &'static (Known, Verdict)> {
    OPTIONS.iter().chain(OWN_OPTIONS)
}

/// Returns the declarations of all options, as [`crate::cli::args::parse`] needs them.
pub(crate) fn known() -> Vec<Known> {
    all().map(|(known, _)| *known).collect()
}

/// Returns the option with this long name, and its verdict.
pub(crate) fn find(name: &str) -> Option<&'static (Known, Verdict)> {
    all().find(|(known, _)| known.long == name)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_option_is_on_the_list_twice() {
        let names: BTreeSet<_> = OPTIONS.iter().map(|(k, _)| k.long).collect();
        assert_eq!(names.len(), OPTIONS.len());
        let shorts: Vec<_> = OPTIONS.iter().map(|(k, _)| k.short).collect();
        let shorts: Vec<_> = shorts.into_iter().filter(|s| *s != ' ').collect();
        assert_eq!(shorts.iter().collect::<BTreeSet<_>>().len(), shorts.len());
    }

    /// Compares the list with the options of the installed client.
    #[test]
    fn every_option_of_the_installed_client_is_on_the_list() {
        for verb in ["run", "create"] {
            let output = edge_common::Root::system().command("/usr/bin/docker");
            let output = { output }.args([verb, "--help"]).output();
            let output = output.expect("the docker client is missing: apt-get install docker.io");
            let help = String::from_utf8(output.stdout).unwrap();
            let mut count = 0;
            for line in help
                .lines()
                .filter(|l| l.starts_with("  -") || l.starts_with("      --"))
            {
                let columns: Vec<_> = line.split_whitespace().collect();
                let short = columns[0].strip_suffix(',').and_then(|s| s.chars().nth(1));
                let name = columns.iter().find_map(|w| w.strip_prefix("--")).unwrap();
                let typed = columns.get(if short.is_some() { 2 } else { 1 }).copied();
                if name == "help" {
                    continue;
                }
                let found = OPTIONS.iter().find(|(k, _)| k.long == name);
                let (known, _) = found.unwrap_or_else(|| panic!("{verb} --{name} has no verdict"));
                assert_eq!(known.short, short.unwrap_or(' '), "--{name}");
                // After the name of a flag, its description follows, which begins with a
                // capital letter; the name of a value is in lower case.
                let value = typed.is_some_and(|t| t.starts_with(|c: char| c.is_ascii_lowercase()));
                assert_eq!(known.value, value, "--{name}: {line}");
                count += 1;
            }
            assert!(count > 90, "{verb}: only {count} options were read");
        }
    }

    /// Options of clients between 20.10 and 28 that the installed one may lack.
    #[test]
    fn options_that_came_and_went_are_on_the_list() {
        for name in [
            "use-api-socket",
            "annotation",
            "kernel-memory",
            "health-start-interval",
            "cgroupns",
            "gpus",
            "pull",
            "quiet",
            "net",
            "net-alias",
            "dns-opt",
            "device-cgroup-rule",
        ] {
            assert!(find(name).is_some(), "{name}");
        }
    }
}
