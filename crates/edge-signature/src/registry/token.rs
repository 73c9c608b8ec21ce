//! Bearer tokens from the token service of a registry.

use reqwest::header::{AUTHORIZATION, CONTENT_TYPE, HeaderMap, WWW_AUTHENTICATE};
use reqwest::{Client, Url};
use serde::Deserialize;

use super::credentials::Credentials;
use super::response::{read_body, status_error, unreachable};
use crate::error::Error;

/// Size limit of the token service's response, in bytes.
const MAX_TOKEN_BYTES: usize = 64 * 1024;
/// Media type of a form.
const FORM: &str = "application/x-www-form-urlencoded";
/// Name of the token service in error messages.
const NAME: &str = "the registry's token service";

/// Access that a token grants. The order is significant: a token for `Push` also serves
/// for `Pull`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Access {
    /// Permission to read the repository.
    Pull,
    /// Permission to read and write the repository.
    Push,
}

/// Token service that a registry names in a response with status 401.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Challenge {
    realm: String,
    service: String,
}

impl Challenge {
    /// Returns the first `WWW-Authenticate` challenge in `headers` that demands a bearer
    /// token.
    pub(super) fn find(headers: &HeaderMap) -> Option<Self> {
        let mut values = headers.get_all(WWW_AUTHENTICATE).iter();
        values.find_map(|v| Self::parse(v.to_str().ok()?))
    }

    /// Parses `Bearer realm="…",service="…",scope="…"`. The scope is ignored: the client
    /// always requests a token for its own repository.
    fn parse(text: &str) -> Option<Self> {
        let (scheme, mut rest) = text.trim().split_once(' ')?;
        let mut challenge = Self::default();
        while let Some((key, behind)) = rest.split_once('=') {
            let (value, behind) = match behind.strip_prefix('"') {
                Some(quoted) => quoted.split_once('"')?,
                None => behind.split_at(behind.find(',').unwrap_or(behind.len())),
            };
            match key.trim_matches([',', ' ']).to_ascii_lowercase().as_str() {
                "realm" => challenge.realm = value.into(),
                "service" => challenge.service = value.into(),
                _ => {}
            }
            rest = behind;
        }
        let complete = scheme.eq_ignore_ascii_case("bearer") && !challenge.realm.is_empty();
        complete.then_some(challenge)
    }

    /// Requests a bearer token that grants `access` to `scope`, for example
    /// `repository:team`.
    pub(super) async fn request_token(
        &self,
        client: &Client,
        scope: &str,
        access: Access,
        credentials: Option<&Credentials>,
    ) -> Result<String, Error> {
        // The token service is often on another host than the registry. It may receive the
        // credentials, because the registry, known by its TLS certificate, names it.
        let request = match credentials {
            Some(token) if token.is_identity_token() => {
                let (url, body) = self.exchange(scope, access, &token.password)?;
                client.post(url).header(CONTENT_TYPE, FORM).body(body)
            }
            Some(credentials) => client
                .get(self.url(scope, access)?)
                .header(AUTHORIZATION, credentials.basic()),
            None => client.get(self.url(scope, access)?),
        };
        let response = request.send().await.map_err(|e| unreachable(NAME, e))?;
        if !response.status().is_success() {
            return Err(status_error(NAME, response).await);
        }
        let body = read_body(NAME, response, MAX_TOKEN_BYTES).await?;
        // Registries use either of the two fields. A token with a line break could inject
        // another header.
        serde_json::from_slice::<Token>(&body)
            .ok()
            .and_then(|t| t.token.or(t.access_token))
            .filter(|t| !t.is_empty() && t.bytes().all(|b| b.is_ascii_graphic()))
            .ok_or_else(|| Error::Unverifiable(format!("{NAME}: no token in the response")))
    }

    /// Returns address and form of the request that exchanges an identity token, by OAuth 2
    /// (<https://distribution.github.io/distribution/spec/auth/oauth/>).
    fn exchange(&self, scope: &str, access: Access, token: &str) -> Result<(Url, String), Error> {
        let mut url = self.url(scope, access)?;
        url.query_pairs_mut()
            .append_pair("grant_type", "refresh_token")
            .append_pair("client_id", "edge-ai")
            .append_pair("refresh_token", token);
        // In the body, because servers log addresses.
        let form = url.query().unwrap_or_default().to_string();
        url.set_query(None);
        Ok((url, form))
    }

    fn url(&self, scope: &str, access: Access) -> Result<Url, Error> {
        let unusable = || Error::Unverifiable(format!("{NAME}: its address is not an https URL"));
        let mut url = Url::parse(&self.realm).map_err(|_| unusable())?;
        if url.scheme() != "https" {
            return Err(unusable());
        }
        let actions = match access {
            Access::Pull => "pull",
            Access::Push => "pull,push",
        };
        url.query_pairs_mut()
            .append_pair("service", &self.service)
            .append_pair("scope", &format!("{scope}:{actions}"));
        Ok(url)
    }
}

#[derive(Deserialize)]
struct Token {
    token: Option<String>,
    access_token: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn challenges() {
        let text = r#"Bearer realm="https://a.io/token",service="r.io",scope="x:y:pull,push""#;
        let expected = Challenge {
            realm: "https://a.io/token".into(),
            service: "r.io".into(),
        };
        assert_eq!(Challenge::parse(text), Some(expected));
        let unquoted = Challenge::parse("bearer scope=\"a\", Realm=https://b.io , service=s");
        assert_eq!(unquoted.unwrap().realm, "https://b.io ");
        for text in [
            "",
            "Bearer",
            "Basic realm=\"x\"",
            "Bearer service=\"x\"",
            "Bearer realm=\"x",
        ] {
            assert_eq!(Challenge::parse(text), None, "{text}");
        }
    }
}
