//! Keys of `app.yaml`, and the reasons why other keys of compose files are refused.

/// Keys of one mapping of `app.yaml`.
pub(crate) struct Keys {
    /// Keys that are read.
    pub(crate) known: &'static [&'static str],
    /// Keys that people try, and the advice for each.
    pub(crate) refused: &'static [(&'static str, &'static str)],
}

impl Keys {
    pub(crate) fn find(&self, text: &str) -> Option<&'static str> {
        self.known.iter().copied().find(|known| *known == text)
    }
}

/// Returns the message for an unknown key: the reason if it is a key of compose files,
/// else the nearest key.
pub(crate) fn unknown(keys: &Keys, text: &str) -> String {
    if let Some((_, reason)) = keys.refused.iter().find(|(key, _)| *key == text) {
        return format!("`{text}` is not supported: {reason}");
    }
    if text.starts_with("x-") {
        return format!("unknown key {text:?}: write an anchor where it is used first");
    }
    match nearest(keys.known, text) {
        Some(known) => format!("unknown key {text:?}: did you mean `{known}`?"),
        None => format!("unknown key {text:?}: docs/apps.md lists all keys"),
    }
}

/// Returns the known word that is at most a third of its letters away from `text`.
pub(crate) fn nearest<'a>(known: &[&'a str], text: &str) -> Option<&'a str> {
    let lower = text.to_ascii_lowercase().replace('-', "_");
    let rated = known.iter().map(|word| (distance(word, &lower), *word));
    let (letters, word) = rated.min()?;
    (letters <= word.len().div_ceil(3).min(3)).then_some(word)
}

/// Returns how many letters must be inserted, removed or replaced to make one word of
/// the other (the Levenshtein distance).
fn distance(a: &str, b: &str) -> usize {
    // Keys have at most 20 letters; a longer text is none of them.
    if b.len() > 40 {
        return usize::MAX;
    }
    let mut row: Vec<usize> = (0..=b.chars().count()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, y) in b.chars().enumerate() {
            let cost = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = cost.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row.last().copied().unwrap_or(0)
}

const GRANTS: &str = "write `grants: [NAME]`; the device's image defines what each grant is";
const IMAGE: &str = "the image is what `edge-app push` signs, built from the Dockerfile here or \
                     copied with --from";
const SERVICES: &str = "one app.yaml describes one container, with its keys at the top";
const SECRETS: &str = "no secrets in app.yaml: it is signed and can be read in the registry; put \
                       a file into the app's data directory on the device";
const NAMESPACES: &str = "namespaces of the host are not shared with containers";
const NETWORKS: &str = "networks of your own do not exist on a device; write `network_mode`, \
                        `ports`, or a grant such as host-network";
const LIMITS: &str = "write `mem_limit`, `cpus` and `pids_limit`";
const DISKS: &str = "limits of disks are not set by apps; `storage` limits the app's data";
const CPU: &str = "write `cpus` or `cpuset`";
const NAMES: &str = "use `dns` or `extra_hosts`; how names are looked up belongs to the device";
const ENGINE: &str = "it is decided by the image of the device";
const LABELS: &str = "write `labels`, which are signed with the app";

/// Keys at the top of `app.yaml`.
pub(crate) const APP: Keys = Keys {
    known: &[
        "cap_add",
        "cap_drop",
        "command",
        "commands",
        "cpus",
        "cpuset",
        "dns",
        "entrypoint",
        "env",
        "env_file",
        "environment",
        "expose",
        "extra_hosts",
        "grants",
        "group_add",
        "health",
        "healthcheck",
        "hostname",
        "init",
        "labels",
        "logging",
        "mem_limit",
        "name",
        "network_mode",
        "pids_limit",
        "ports",
        "read_only",
        "requires",
        "resources",
        "restart",
        "root",
        "shm_size",
        "stop_grace_period",
        "stop_signal",
        "storage",
        "sync",
        "sysctls",
        "tmpfs",
        "tty",
        "ulimits",
        "unit",
        "user",
        "volumes",
        "working_dir",
    ],
    refused: &[
        ("annotations", "annotations reach the runtime, not the app"),
        ("attach", "`edge-app logs` shows the output"),
        ("blkio_config", DISKS),
        (
            "build",
            "`edge-app build` builds the Dockerfile of this directory",
        ),
        ("cgroup", NAMESPACES),
        ("cgroup_parent", NAMESPACES),
        ("configs", "put the file into the image, or below `volumes`"),
        ("container_name", "the container has the name of the app"),
        ("cpu_count", CPU),
        ("cpu_percent", CPU),
        ("cpu_period", CPU),
        ("cpu_quota", CPU),
        ("cpu_rt_period", CPU),
        ("cpu_rt_runtime", CPU),
        ("cpu_shares", CPU),
        ("credential_spec", "it is for Windows containers"),
        ("depends_on", "write `unit: {after: [UNIT]}`"),
        ("deploy", LIMITS),
        (
            "develop",
            "write `sync`, and use `edge-app sandbox --watch`",
        ),
        ("device_cgroup_rules", GRANTS),
        ("devices", GRANTS),
        ("dns_opt", NAMES),
        ("dns_search", NAMES),
        ("domainname", NAMES),
        ("extends", SERVICES),
        ("external_links", NAMES),
        ("gpus", "write `grants: [gpu]`"),
        ("image", IMAGE),
        ("include", SERVICES),
        (
            "ipc",
            "namespaces of the host are not shared; write `shm_size` for shared memory",
        ),
        ("isolation", "it is for Windows containers"),
        ("label_file", LABELS),
        ("links", NAMES),
        ("mac_address", "addresses are given by the engine"),
        ("mem_reservation", LIMITS),
        ("mem_swappiness", ENGINE),
        ("memory", "write `mem_limit`"),
        ("memswap_limit", LIMITS),
        ("models", SERVICES),
        ("networks", NETWORKS),
        ("oom_kill_disable", "a full memory would stop the device"),
        ("oom_score_adj", ENGINE),
        ("pid", NAMESPACES),
        ("platform", "write `platform` in edge-app.yaml"),
        (
            "post_start",
            "do it in the program that the container starts",
        ),
        ("pre_stop", "handle the stop signal in the program"),
        (
            "privileged",
            "it would lift every rule; write `grants` for devices, `cap_add` for capabilities",
        ),
        ("profiles", SERVICES),
        ("provider", SERVICES),
        ("pull_policy", "the device pulls by the signed digest"),
        ("runtime", "write `grants: [gpu]`"),
        ("scale", "one app is one container"),
        ("secrets", SECRETS),
        (
            "security_opt",
            "every container has no-new-privileges and docker's seccomp profile",
        ),
        ("services", SERVICES),
        (
            "stdin_open",
            "nobody types into an app; `tty` is a terminal for its output",
        ),
        ("stop_timeout", "write `stop_grace_period: 30s`"),
        ("storage_opt", DISKS),
        ("use_api_socket", "the engine's socket is root's alone"),
        ("userns_mode", NAMESPACES),
        ("uts", NAMESPACES),
        (
            "variables",
            "values are written out in `environment`, the same for every device",
        ),
        (
            "version",
            "an app.yaml has no version of its own: the one of an app comes from git",
        ),
        ("volume_driver", "an app mounts its own data directory"),
        (
            "volumes_from",
            "another container's directories are not this app's",
        ),
        ("workdir", "write `working_dir`"),
    ],
};

/// Defines the keys of an inner mapping.
macro_rules! keys {
    ($(#[$doc:meta])* $name:ident: $($known:literal),+; $($refused:literal => $reason:expr),*) => {
        $(#[$doc])*
        pub(crate) const $name: Keys = Keys {
            known: &[$($known),+],
            refused: &[$(($refused, $reason)),*],
        };
    };
}

keys! {
    /// Keys of `health` and `healthcheck`.
    HEALTH: "command", "disable", "interval", "retries", "start_interval", "start_period",
        "test", "timeout";
}
keys! {
    /// Keys of `resources`.
    RESOURCES: "cpus", "memory", "pids";
    "limits" => "write memory, cpus and pids directly below `resources`",
    "reservations" => "memory and processors are not reserved for one app"
}
keys! {
    /// Keys of a port in the long form.
    PORT: "host_ip", "mode", "protocol", "published", "target";
    "app_protocol" => "the device does not use it",
    "name" => "the device does not use it"
}
keys! {
    /// Keys of a volume in the long form.
    VOLUME: "bind", "read_only", "source", "target", "tmpfs", "type";
    "consistency" => "it is for other systems than Linux",
    "image" => "only directories of the app's data are mounted",
    "volume" => "only directories of the app's data are mounted"
}
keys! {
    /// Keys of `bind` in a volume.
    BIND: "create_host_path";
    "propagation" => "mounts are private",
    "recursive" => "mounts are not recursive",
    "selinux" => "files of the device are not relabelled"
}
keys! {
    /// Keys of `tmpfs` in a volume.
    TMPFS: "mode", "size";
}
keys! {
    /// Keys of `logging`.
    LOGGING: "driver", "options";
}
keys! {
    /// Keys of one entry of `ulimits`.
    ULIMIT: "hard", "soft";
}
keys! {
    /// Keys of an entry of `env_file` in the long form.
    ENV_FILE: "path", "required";
    "format" => "the format of compose is read"
}
keys! {
    /// Keys of `requires`.
    REQUIRES: "architecture", "disk", "image", "l4t", "memory";
}
keys! {
    /// Keys of one entry of `commands`.
    COMMAND: "args", "run", "stdin", "user";
    "environment" => "a command runs with the variables of the container"
}
keys! {
    /// Keys of `storage`.
    STORAGE: "limit", "owner";
    "size" => "write `limit`",
    "user" => "write `owner: app`; the user is the one of the container, `user` at the top",
    "group" => "write `owner: app`; the group is the one of the container's user"
}
keys! {
    /// Keys of `unit`.
    UNIT: "after", "timer", "wants";
    "requires" => "write `wants`: an app does not stop with another unit"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_keys_get_a_hint() {
        for (key, hint) in [
            ("port", "did you mean `ports`?"),
            ("Ports", "did you mean `ports`?"),
            ("enviroment", "did you mean `environment`?"),
            ("read-only", "did you mean `read_only`?"),
            ("colour", "docs/apps.md"),
            ("", "docs/apps.md"),
            ("privileged", "`grants`"),
            ("devices", "grants: [NAME]"),
            ("x-common", "anchor"),
            ("\u{feff}name", "did you mean `name`?"),
        ] {
            let message = unknown(&APP, key);
            assert!(message.contains(hint), "{key}: {message}");
        }
        assert!(unknown(&APP, &"n".repeat(10_000)).contains("docs/apps.md"));
        let refused = APP.refused.iter().map(|(key, _)| key);
        assert!(refused.clone().is_sorted() && APP.known.is_sorted());
        assert!(!refused.into_iter().any(|key| APP.known.contains(key)));
    }
}
