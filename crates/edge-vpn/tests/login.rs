//! `nordvpn-login` of the example image, with a client that insists on a terminal.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// As the client: no terminal, no prompt; the token is read without an echo.
const CLIENT: &str = r#"#!/bin/sh
[ "$*" = "login --token" ] || exit 9
[ -t 0 ] || { echo "We couldn't prompt for a login token"; exit 1; }
printf 'Enter access token: '
stty -echo
read -r token
stty echo
echo
cat /proc/[0-9]*/cmdline 2>/dev/null | tr '\0' ' ' >"${0%/*}/seen"
[ "$token" = 0123456789abcdef ] || { echo "the access token is not valid"; exit 1; }
echo "Welcome to NordVPN!"
"#;

#[test]
fn the_token_goes_over_a_terminal_and_is_seen_nowhere() {
    let directory = tempfile::tempdir().unwrap();
    let client = directory.path().join("nordvpn");
    fs::write(&client, CLIENT).unwrap();
    fs::set_permissions(&client, fs::Permissions::from_mode(0o755)).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR"));
    let script = script.join("../../docs/examples/nordvpn/nordvpn-login");
    for (token, code, words) in [
        ("0123456789abcdef", 0, "Welcome to NordVPN!"),
        ("fedcba9876543210", 1, "the access token is not valid"),
    ] {
        let mut child = Command::new(&script)
            .env(
                "PATH",
                format!("{}:/usr/bin:/bin", directory.path().display()),
            )
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        input.write_all(format!("{token}\n").as_bytes()).unwrap();
        drop(input);
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        assert!(said.contains(words) && !said.contains(token), "{said}");
        let seen = fs::read_to_string(directory.path().join("seen")).unwrap();
        assert!(
            seen.contains("login --token") && !seen.contains(token),
            "on a command line"
        );
    }
}
