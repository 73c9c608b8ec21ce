//! Credentials that `docker login` has stored: in docker's `config.json`, or with one of
//! its credential helpers.
//!
//! A helper is a program `docker-credential-NAME` on the search path. With the argument
//! `get` it reads the name of a registry from standard input and prints a JSON object
//! (<https://github.com/docker/docker-credential-helpers>).

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use edge_common::command::run_within;
use edge_common::exit::Failure;
use edge_common::{Root, file};
use edge_signature::{Credentials, docker_config_keys};
use serde::Deserialize;
use serde_json::Value;

use crate::exit_code::CONFIGURATION;
use crate::project::config::MAX_FILE_BYTES;

/// Time limit of a credential helper, which may ask its user to unlock a key ring.
const HELPER_LIMIT: Duration = Duration::from_secs(60);
/// Time in which a helper ends after SIGTERM.
const HELPER_GRACE: Duration = Duration::from_secs(2);
/// Size limit of a user name or secret of a helper, in bytes.
const MAX_SECRET_BYTES: usize = 64 * 1024;
/// Output of a helper that has no credentials for a registry, as the protocol states it.
const NOT_FOUND: &str = "credentials not found in native keychain";

/// Output of a credential helper.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Output {
    username: String,
    secret: String,
}

/// Returns the credentials that `docker login` stored for `host`; `None` if there are
/// none.
///
/// # Errors
/// The credential helper of the registry does not work.
pub(super) async fn find(host: &str) -> Result<Option<Credentials>> {
    let directory = std::env::var_os("DOCKER_CONFIG").map(PathBuf::from);
    let home = || Some(PathBuf::from(std::env::var_os("HOME")?).join(".docker"));
    let Some(directory) = directory.or_else(home) else {
        return Ok(None);
    };
    let Ok(text) = file::read(&directory.join("config.json"), MAX_FILE_BYTES) else {
        return Ok(None);
    };
    if let Some(helper) = helper(&text, host) {
        let program = program(&helper, host)?;
        let registry = host.to_string();
        let asked = tokio::task::spawn_blocking(move || ask(&program, &registry, HELPER_LIMIT));
        if let Some(credentials) = asked.await?? {
            return Ok(Some(credentials));
        }
    }
    Ok(Credentials::from_docker_config(&text, host))
}

/// Returns the name of the credential helper for `host`: that of the registry in
/// `credHelpers`, or else `credsStore`.
fn helper(config: &[u8], host: &str) -> Option<String> {
    let config: Value = serde_json::from_slice(config).ok()?;
    let of_registry = |key: &String| config["credHelpers"][key].as_str();
    let keys = docker_config_keys(host);
    let name = keys.iter().find_map(of_registry);
    let name = name.or_else(|| config["credsStore"].as_str());
    name.filter(|name| !name.is_empty()).map(String::from)
}

/// Returns the path of the credential helper `name`.
fn program(name: &str, host: &str) -> Result<PathBuf> {
    let failed = |why: &str| {
        Failure::error(
            CONFIGURATION,
            format_args!(
                "docker's config.json names the credential helper {name:?} for {host}: {why}, \
                 or give `credentials` in edge-app.yaml"
            ),
        )
    };
    // With a slash, the name could lead to a program outside of the search path.
    let is_name = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    if !name.chars().all(is_name) {
        return Err(failed("it is not the name of a helper; correct it"));
    }
    which::which(format!("docker-credential-{name}"))
        .map_err(|_| failed("docker-credential-NAME is not installed; install it"))
}

/// Requests the credentials for `host` from a helper; `None` if it has none.
fn ask(program: &Path, host: &str, limit: Duration) -> Result<Option<Credentials>> {
    let name = program.file_name().unwrap_or_default().to_string_lossy();
    let failed = |why: &str| {
        Failure::error(
            CONFIGURATION,
            format_args!(
                "{name} gave no credentials for {host}: {why}; try `docker login {host}` again, or \
                 give `credentials` in edge-app.yaml"
            ),
        )
    };
    for key in docker_config_keys(host) {
        let mut command = Root::system().command(program);
        command.arg("get");
        let completed = run_within(&mut command, &key, limit, HELPER_GRACE)?;
        if !completed.success() {
            // Without the time limit, each of the other names would wait for it again.
            if completed.status.is_none() {
                return Err(failed(&format!(
                    "it did not end within {} s",
                    limit.as_secs()
                )));
            }
            if completed.stdout.trim() == NOT_FOUND {
                continue;
            }
            return Err(failed(&completed.summary()));
        }
        // The output is not printed: it may contain the secret.
        let output: Output = serde_json::from_str(&completed.stdout)
            .map_err(|_| failed("its output is not the JSON of a credential helper"))?;
        let is_usable =
            |text: &str| text.len() <= MAX_SECRET_BYTES && !text.contains(['\n', '\r', '\0']);
        if !is_usable(&output.username)
            || !is_usable(&output.secret)
            || output.username.contains(':')
        {
            return Err(failed(
                "its user name or secret has a form that no registry takes",
            ));
        }
        if output.secret.is_empty() {
            continue;
        }
        return Ok(Some(Credentials {
            username: output.username,
            password: output.secret,
        }));
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn helpers_of_registries() {
        let config = br#"{"credsStore":"all","credHelpers":{"r.io":"one","https://s.io/":"two",
            "docker.io":"hub"}}"#;
        for (host, expected) in [
            ("r.io", "one"),
            ("s.io", "two"),
            ("docker.io", "hub"),
            ("other.io", "all"),
        ] {
            assert_eq!(helper(config, host).as_deref(), Some(expected));
        }
        for config in ["{}", "[", r#"{"credsStore":""}"#, r#"{"credsStore":7}"#] {
            assert_eq!(helper(config.as_bytes(), "r.io"), None);
        }
        for name in ["../x", "a/b", "a b", "x;y", "no-such-helper"] {
            let error = program(name, "r.io").unwrap_err().to_string();
            assert!(
                error.contains("credential helper") && error.contains("r.io"),
                "{error}"
            );
        }
    }

    /// Runs a helper that is this shell script.
    fn run(script: &str, limit: Duration) -> Result<Option<Credentials>> {
        use std::os::unix::fs::PermissionsExt as _;
        let directory = tempfile::tempdir().unwrap();
        let program = directory.path().join("docker-credential-test");
        file::write(&program, format!("#!/bin/sh\n{script}\n").as_bytes(), 0o755).unwrap();
        assert_eq!(
            std::fs::metadata(&program).unwrap().permissions().mode() & 0o777,
            0o755
        );
        ask(&program, "r.io", limit)
    }

    #[test]
    fn outputs_of_helpers() {
        let limit = Duration::from_secs(30);
        let read = |script: &str| run(script, limit).unwrap();
        let found = read(
            r#"[ $1 = get ] && [ "$(cat)" = r.io ] && echo '{"ServerURL":"x","Username":"a","Secret":"s:e"}'"#,
        );
        let found = found.unwrap();
        assert_eq!(
            (found.username.as_str(), found.password.as_str()),
            ("a", "s:e")
        );
        let address = r#"case $(cat) in https://r.io) echo '{"Username":"<token>","Secret":"t"}';;
            *) echo credentials not found in native keychain; exit 1;; esac"#;
        assert!(read(address).unwrap().is_identity_token());
        assert!(read("echo credentials not found in native keychain; exit 1").is_none());
        assert!(read(r#"echo '{"Username":"a","Secret":""}'"#).is_none());
        for (script, text) in [
            (
                "echo 'pass not initialized'; exit 1",
                "pass not initialized",
            ),
            ("echo locked >&2; exit 2", "locked"),
            ("exit 3", "exit status: 3"),
            ("echo SECRET", "not the JSON"),
            ("head -c 1000000 /dev/zero", "not the JSON"),
            (r#"echo '{"Secret":"SECRET"}'"#, "not the JSON"),
            (
                r#"printf %s '{"Username":"a\nb","Secret":"SECRET"}'"#,
                "no registry takes",
            ),
            (
                r#"echo '{"Username":"a:b","Secret":"SECRET"}'"#,
                "no registry takes",
            ),
            ("kill -9 $$", "signal: 9"),
        ] {
            let error = run(script, limit).err().unwrap().to_string();
            assert!(
                error.contains(text) && !error.contains("SECRET"),
                "{script}: {error}"
            );
            assert!(error.contains("docker login r.io"), "{error}");
        }
        let error = run("exec sleep 1000", Duration::from_secs(1))
            .err()
            .unwrap();
        assert!(error.to_string().contains("within 1 s"), "{error}");
    }
}
