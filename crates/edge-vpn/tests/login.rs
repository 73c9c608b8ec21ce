//! `nordvpn-login` of the example image, with a client that requires a terminal.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

/// Client that reads the token from a terminal only, without an echo.
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
fn the_token_is_typed_on_a_terminal_and_shown_nowhere() {
    let directory = tempfile::tempdir().unwrap();
    let client = directory.path().join("nordvpn");
    fs::write(&client, CLIENT).unwrap();
    fs::set_permissions(&client, fs::Permissions::from_mode(0o755)).unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR"));
    let script = script.join("../../docs/examples/nordvpn/nordvpn-login");
    for (token, code, message) in [
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
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        assert!(text.contains(message) && !text.contains(token), "{text}");
        let command_lines = fs::read_to_string(directory.path().join("seen")).unwrap();
        assert!(
            command_lines.contains("login --token") && !command_lines.contains(token),
            "the token is on a command line"
        );
    }
}
