//! Rules for the values of keys of `/data/services` that run a program, open a socket or
//! set how a program runs.

use edge_common::contract::path::EDGE_DOCKER;

/// Checks the value of `key`; an error says what is wrong and what to write.
pub(crate) fn check(key: &str, value: &str) -> Result<(), String> {
    match key {
        _ if key.starts_with("Exec") => command(key, value),
        _ if key.starts_with("Listen") => address(key, value),
        "Type" => kind(value),
        "StandardInput" => one_of(key, value, &["null"]),
        // `syslog` is an old name of `journal`; the others write to files and terminals.
        "StandardOutput" | "StandardError" => {
            one_of(key, value, &["journal", "null", "inherit", "syslog"])
        }
        "Nice" => match value.parse::<i8>() {
            Ok(-20..=19) => Ok(()),
            _ if value.is_empty() => Ok(()),
            _ => Err(format!("Nice={value} is not -20 to 19")),
        },
        "WorkingDirectory" if !absolute(value) && !value.is_empty() => Err(format!(
            "WorkingDirectory={value} is not an absolute path; the one of the container is \
             --workdir in ExecStart="
        )),
        _ => Ok(()),
    }
}

/// Returns whether a value is an absolute path, with `-` if it may be absent.
fn absolute(value: &str) -> bool {
    value.strip_prefix('-').unwrap_or(value).starts_with('/')
}

fn one_of(key: &str, value: &str, values: &[&str]) -> Result<(), String> {
    if value.is_empty() || values.contains(&value) {
        return Ok(());
    }
    Err(format!(
        "{key}={value} is not allowed: write {}",
        values.join(" or ")
    ))
}

/// Checks that the service does not wait for a message that edge-docker never sends.
fn kind(value: &str) -> Result<(), String> {
    match value {
        "notify" | "notify-reload" | "dbus" => Err(format!(
            "Type={value} waits for a message that edge-docker does not send: write Type=exec, or \
             Type=oneshot with RemainAfterExit=yes for run --detach"
        )),
        _ => Ok(()),
    }
}

/// Checks that a command line starts edge-docker, which applies the container policy, and
/// nothing else. An empty value resets the list and is allowed.
fn command(key: &str, value: &str) -> Result<(), String> {
    let args: Vec<_> = value.split([' ', '\t']).filter(|w| !w.is_empty()).collect();
    let Some(program) = args.first() else {
        return Ok(());
    };
    // Of systemd's prefixes only `-` (ignore a failure) and `:` (do not expand
    // variables) are allowed; the others change the program's name or its privileges.
    let name = program.trim_start_matches(['-', ':']);
    if name != EDGE_DOCKER {
        return Err(format!(
            "{key}= may only start {EDGE_DOCKER}, not {program}: {}",
            instead(name)
        ));
    }
    // A quoted or escaped `;` is refused as well. No container needs such an argument,
    // and the check does not depend on how a version of systemd unquotes.
    if args
        .iter()
        .any(|arg| arg.trim_matches(['\\', '"', '\'']) == ";")
    {
        return Err(format!(
            "{key}= holds a second command after \";\": write a line for each"
        ));
    }
    Ok(())
}

/// Returns what to write instead of a program that a unit may not start.
fn instead(program: &str) -> String {
    let name = program.trim_start_matches(['+', '!', '@', '|']);
    match name.rsplit('/').next().unwrap_or_default() {
        "docker" | "podman" | "nerdctl" | "edge-docker" => {
            format!("write {EDGE_DOCKER} with the same arguments")
        }
        "docker-compose" | "podman-compose" => {
            "write a unit with edge-docker run for each service".into()
        }
        "mkdir" | "install" | "chown" | "chmod" | "touch" => {
            "remove it: edge-docker creates the directories of an app's mounts for its user".into()
        }
        "systemd-notify" | "sleep" => "remove it: order units with After=".into(),
        _ => "let a program of the container do it".into(),
    }
}

/// Checks that a socket unit listens on a port from 1024 on. A path is refused, because
/// it could replace the socket of another program.
fn address(key: &str, value: &str) -> Result<(), String> {
    let port = value.rsplit_once(':').map_or(value, |(_, port)| port);
    if value.is_empty() || port.parse::<u16>().is_ok_and(|p| p >= 1024) {
        return Ok(());
    }
    Err(format!(
        "{key}={value} is not allowed: write a port from 1024 on, or ADDRESS:PORT"
    ))
}

#[cfg(test)]
mod tests {
    use super::check;

    #[test]
    fn sockets_listen_on_high_ports_only() {
        for allowed in ["8080", "127.0.0.1:8080", "[::]:8080", ""] {
            assert!(check("ListenStream", allowed).is_ok(), "{allowed}");
        }
        for refused in [
            "22",
            "/run/docker.sock",
            "@abstract",
            "vsock:1:22",
            "%t/x",
            "0.0.0.0:443",
        ] {
            assert!(check("ListenStream", refused).is_err(), "{refused}");
        }
    }

    #[test]
    fn values_that_widen_something_are_refused() {
        for (key, value) in [
            ("StandardOutput", "file:/etc/passwd"),
            ("StandardOutput", "append:/data/log/x"),
            ("StandardError", "truncate:/etc/shadow"),
            ("StandardOutput", "journal+console"),
            ("StandardOutput", "tty"),
            ("StandardOutput", "socket"),
            ("StandardOutput", "fd:x"),
            ("StandardInput", "file:/etc/shadow"),
            ("StandardInput", "tty-force"),
            ("StandardInput", "data"),
            ("Type", "notify"),
            ("Nice", "20"),
            ("Nice", "low"),
            ("WorkingDirectory", "~"),
            ("WorkingDirectory", "-data"),
            ("ExecStartPre", "/bin/mkdir -p /data/x"),
        ] {
            let reason = check(key, value).unwrap_err();
            assert!(
                reason.contains(value.split(' ').next().unwrap()),
                "{reason}"
            );
        }
        for (key, value) in [
            ("StandardOutput", "journal"),
            ("StandardError", "null"),
            ("StandardInput", "null"),
            ("Nice", "-20"),
            ("Nice", ""),
            ("Type", "oneshot"),
            ("WorkingDirectory", "/data/apps/x"),
        ] {
            assert_eq!(check(key, value), Ok(()), "{key}={value}");
        }
    }
}
