//! Credentials of a registry, and their text in HTTP headers and in docker's
//! `config.json`.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

/// User name by which docker marks an identity token, in its files and in the output of
/// credential helpers.
const IDENTITY_TOKEN: &str = "<token>";

/// User name and password with which a client logs in to a registry. With the user name
/// `<token>` the password is an identity token, which the token service of the registry
/// exchanges for a bearer token.
#[derive(Clone)]
pub struct Credentials {
    /// User name, for example `AWS` at ECR.
    pub username: String,
    /// Password or access token. It is a secret and must not be logged.
    pub password: String,
}

impl Credentials {
    /// Decodes Base64 of `NAME:PASSWORD`, the format of docker's `config.json` and of
    /// ECR's authorization token. Returns `None` if the text is malformed.
    pub fn from_base64(text: &str) -> Option<Self> {
        let pair = String::from_utf8(STANDARD.decode(text).ok()?).ok()?;
        // Split at the first colon: a password may contain colons, a user name may not.
        let (username, password) = pair.split_once(':')?;
        Some(Self {
            username: username.into(),
            password: password.into(),
        })
    }

    /// Returns the credentials for the registry `host` from the text of a `config.json`;
    /// `None` if the text is malformed or contains no password for `host`.
    pub fn from_docker_config(json: &[u8], host: &str) -> Option<Self> {
        // Parsed without a fixed type: entries of other hosts may have any form, and an
        // entry is empty if a credential helper stores the password.
        let config: Value = serde_json::from_slice(json).ok()?;
        docker_config_keys(host)
            .iter()
            .find_map(|key| Self::from_docker_entry(&config["auths"][key]))
    }

    fn from_docker_entry(entry: &Value) -> Option<Self> {
        let text = |key: &str| entry[key].as_str().filter(|text| !text.is_empty());
        match text("identitytoken") {
            Some(token) => Some(Self {
                username: IDENTITY_TOKEN.into(),
                password: token.into(),
            }),
            None => Self::from_base64(text("auth")?),
        }
    }

    /// Returns whether the password is an identity token.
    pub fn is_identity_token(&self) -> bool {
        self.username == IDENTITY_TOKEN
    }

    /// Returns the text of a `config.json` that contains only these credentials, for the
    /// registry `host`.
    pub fn to_docker_config(&self, host: &str) -> String {
        json!({ "auths": { host: { "auth": self.to_base64() } } }).to_string()
    }

    /// Returns the value of an `Authorization` header for basic authentication.
    pub(super) fn basic(&self) -> String {
        format!("Basic {}", self.to_base64())
    }

    fn to_base64(&self) -> String {
        STANDARD.encode(format!("{}:{}", self.username, self.password))
    }
}

/// Returns the names under which docker's `config.json` and credential helpers may know
/// the registry `host`, in the order of the search. Other tools, and old versions of
/// docker, name a registry by an address.
pub fn docker_config_keys(host: &str) -> Vec<String> {
    let forms = ["", "https://"].map(|scheme| format!("{scheme}{host}"));
    let ends = ["", "/", "/v1/", "/v2/"];
    let keys = forms
        .iter()
        .flat_map(|form| ends.map(|end| format!("{form}{end}")));
    // Docker Hub has kept the name of its first registry.
    let hub = ["docker.io", "index.docker.io", "registry-1.docker.io"];
    let hub = hub
        .contains(&host)
        .then(|| "https://index.docker.io/v1/".into());
    keys.chain(hub).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_survive_the_file() {
        let credentials = Credentials {
            username: "AWS".into(),
            password: "a:b c".into(),
        };
        let text = credentials.to_docker_config("r.io");
        let read = Credentials::from_docker_config(text.as_bytes(), "r.io").unwrap();
        assert_eq!(
            (read.username, read.password),
            ("AWS".into(), "a:b c".into())
        );
        for key in ["https://r.io", "https://r.io/v1/", "r.io/"] {
            let text = credentials.to_docker_config(key);
            let read = Credentials::from_docker_config(text.as_bytes(), "r.io");
            assert!(read.is_some(), "{key}");
        }
        let token = r#"{"auths":{"r.io":{"auth":"YTo=","identitytoken":"t"}}}"#;
        let read = Credentials::from_docker_config(token.as_bytes(), "r.io").unwrap();
        assert!(read.is_identity_token() && read.password == "t");
        let hub = credentials.to_docker_config("https://index.docker.io/v1/");
        assert!(Credentials::from_docker_config(hub.as_bytes(), "docker.io").is_some());
        for (text, host) in [
            ("{\"auths\":{\"http://r.io\":{\"auth\":\"YTpi\"}}}", "r.io"),
            (text.as_str(), "other.io"),
            ("{}", "r.io"),
            (r#"{"auths":{"r.io":{}}}"#, "r.io"),
            (r#"{"auths":{"r.io":{"auth":"?"}}}"#, "r.io"),
            ("[", "r.io"),
        ] {
            assert!(Credentials::from_docker_config(text.as_bytes(), host).is_none());
        }
    }
}
