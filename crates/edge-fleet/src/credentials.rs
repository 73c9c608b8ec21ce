//! Temporary keys of AWS from the role alias, and the password of the registry, which are kept
//! in memory alone. Requests are signed by Signature Version 4.

use anyhow::{Context, Result, bail, ensure};
use edge_common::{hex, time};
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::sha::sha256;
use openssl::sign::Signer;
use serde::Deserialize;

use crate::secret::{Secret, wipe};

/// Size limit of an answer of either service, in bytes.
pub(crate) const MAX_ANSWER_BYTES: usize = 16 * 1024;
const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const CONTENT_TYPE: &str = "application/x-amz-json-1.1";
/// Request for the password of the registry, in the header `x-amz-target`.
const TARGET: &str = "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken";
/// Latest end of validity that is believed, 2100-01-01 in seconds of Unix time.
const MAX_TIME: f64 = 4_102_444_800.0;
/// Body of that request.
const BODY: &str = "{}";

/// Temporary keys. The type has no `Debug`, so that no log shows them.
pub struct Keys {
    access_key: String,
    secret: Secret,
    token: Secret,
    /// End of validity in seconds of Unix time.
    pub expires: u64,
}

#[derive(Deserialize)]
struct Answer {
    credentials: Credentials,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Credentials {
    access_key_id: String,
    secret_access_key: String,
    session_token: String,
    expiration: String,
}

/// Returns whether a text can be the value of a header: a line feed would add headers.
fn is_visible(text: &str, most: usize) -> bool {
    (1..=most).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
}

impl Keys {
    /// Parses the answer of the credentials provider.
    ///
    /// # Errors
    /// The answer is oversized or has another form; the error quotes none of it.
    pub fn parse(answer: &[u8]) -> Result<Self> {
        ensure!(
            answer.len() <= MAX_ANSWER_BYTES,
            "the credentials provider's answer is too large"
        );
        // The error of the parser could quote a key.
        let parsed = serde_json::from_slice::<Answer>(answer).ok();
        let parsed = parsed.context("the credentials provider's answer has another form")?;
        let Credentials {
            access_key_id,
            secret_access_key,
            session_token,
            expiration,
        } = parsed.credentials;
        let visible = [
            (&access_key_id, 128),
            (&secret_access_key, 256),
            (&session_token, 8192),
        ];
        ensure!(
            visible.iter().all(|(text, most)| is_visible(text, *most)),
            "the credentials provider's keys contain other characters"
        );
        let expires = time::parse(&expiration).context("the keys have no end of validity")?;
        Ok(Self {
            access_key: access_key_id,
            secret: secret_access_key.into(),
            token: session_token.into(),
            expires,
        })
    }
}

/// Signed request for the password of the registry.
pub struct TokenRequest {
    /// Headers without `host` and `content-length`.
    pub headers: Vec<(&'static str, String)>,
    /// Body.
    pub body: &'static str,
}

/// Returns the signed request for the password of a registry at the time `now`; `host` is
/// the API of ECR.
///
/// # Errors
/// OpenSSL fails.
pub fn token_request(keys: &Keys, host: &str, region: &str, now: u64) -> Result<TokenRequest> {
    let date: String = time::rfc3339(now)
        .chars()
        .filter(|c| !"-:".contains(*c))
        .collect();
    let signed = [
        ("content-type", CONTENT_TYPE),
        ("host", host),
        ("x-amz-date", &*date),
        ("x-amz-security-token", keys.token.expose()),
        ("x-amz-target", TARGET),
    ];
    let names = signed.map(|(name, _)| name).join(";");
    let lines: String = signed
        .iter()
        .map(|(name, value)| format!("{name}:{value}\n"))
        .collect();
    let body = hex::encode(sha256(BODY.as_bytes()));
    let canonical = format!("POST\n/\n\n{lines}\n{names}\n{body}");
    let scope = format!("{}/{region}/ecr/aws4_request", &date[..8]);
    let digest = hex::encode(sha256(canonical.as_bytes()));
    let mut key = format!("AWS4{}", keys.secret.expose()).into_bytes();
    for part in scope.split('/') {
        let next = hmac(&key, part)?;
        wipe(std::mem::replace(&mut key, next));
    }
    let signature = hmac(&key, &format!("{ALGORITHM}\n{date}\n{scope}\n{digest}"))?;
    let authorization = format!(
        "{ALGORITHM} Credential={}/{scope}, SignedHeaders={names}, Signature={}",
        keys.access_key,
        hex::encode(signature)
    );
    let values = signed.into_iter().filter(|(name, _)| *name != "host");
    let mut headers: Vec<_> = values
        .map(|(name, value)| (name, value.to_string()))
        .collect();
    headers.push(("authorization", authorization));
    wipe(key);
    Ok(TokenRequest {
        headers,
        body: BODY,
    })
}

fn hmac(key: &[u8], text: &str) -> Result<Vec<u8>> {
    let key = PKey::hmac(key).context("preparing a key")?;
    let mut signer = Signer::new(MessageDigest::sha256(), &key).context("signing a request")?;
    signer
        .update(text.as_bytes())
        .context("signing a request")?;
    signer.sign_to_vec().context("signing a request")
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Answered {
    authorization_data: Vec<Authorization>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Authorization {
    authorization_token: String,
    expires_at: f64,
    proxy_endpoint: String,
}

/// Password of the registry's user `AWS`.
pub struct Token {
    /// Password.
    pub password: Secret,
    /// `HOST` or `HOST:PORT` of the registry for which it is valid.
    pub registry: String,
    /// End of validity in seconds of Unix time.
    pub expires: u64,
}

/// Parses the answer of the API of ECR.
///
/// # Errors
/// The answer is oversized or has another form; the error quotes none of it.
pub fn token(answer: &[u8]) -> Result<Token> {
    ensure!(
        answer.len() <= MAX_ANSWER_BYTES,
        "the registry's answer is too large"
    );
    let answered = serde_json::from_slice::<Answered>(answer).ok();
    let data = answered.and_then(|answered| answered.authorization_data.into_iter().next());
    let data = data.context("the registry's answer has no token")?;
    let decoded = openssl::base64::decode_block(&data.authorization_token).ok();
    let decoded = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
    let decoded = Secret::from(decoded.unwrap_or_default());
    wipe(data.authorization_token.into_bytes());
    let password = (decoded.expose().strip_prefix("AWS:"))
        .filter(|password| is_visible(password, MAX_ANSWER_BYTES))
        .context("the registry's token has another form")?;
    let registry = (data.proxy_endpoint.strip_prefix("https://"))
        .context("the registry's answer names no registry")?;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the range is checked"
    )]
    let expires = match data.expires_at {
        at if (0.0..MAX_TIME).contains(&at) => at as u64,
        _ => bail!("the registry's token has no end of validity"),
    };
    Ok(Token {
        password: password.to_string().into(),
        registry: registry.into(),
        expires,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn answer() -> Value {
        json!({ "credentials": {
            "accessKeyId": "ASIAEDGEEXAMPLE00000",
            "secretAccessKey": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
            "sessionToken": "IQoJb3JpZ2luX2VjEXAMPLE==",
            "expiration": "2026-11-25T13:00:00Z",
            "later": 1,
        } })
    }

    fn failure(answer: &str) -> String {
        match Keys::parse(answer.as_bytes()) {
            Ok(_) => panic!("accepted: {answer:.80}"),
            Err(error) => format!("{error:#}"),
        }
    }

    #[test]
    fn the_signature_is_that_of_botocore() {
        let keys = Keys::parse(answer().to_string().as_bytes()).unwrap();
        assert_eq!(keys.expires, 1_795_611_600);
        let host = "api.ecr.eu-central-1.amazonaws.com";
        let request = token_request(&keys, host, "eu-central-1", 1_795_608_000).unwrap();
        let header = |name| {
            request
                .headers
                .iter()
                .find(|(n, _)| *n == name)
                .unwrap()
                .1
                .as_str()
        };
        assert_eq!(header("x-amz-date"), "20261125T120000Z");
        let signature = "510a581f6d49d8ff399d80ec5db11bd63ea8475a173d9f5f790999d91b6c6066";
        assert!(header("authorization").ends_with(&format!("Signature={signature}")));
    }

    #[test]
    fn hostile_credentials_are_errors_that_quote_nothing() {
        let secret = "wJalrXUtnFEMI";
        let large = format!("{}{}", answer(), " ".repeat(20_000));
        let mut texts: Vec<String> = ["", "{", "[]", "{}", r#"{"message":"Access Denied"}"#]
            .map(String::from)
            .to_vec();
        texts.extend([large, answer().to_string().replace("2026-", "")]);
        for (field, value) in [
            ("accessKeyId", json!("A\r\nx-injected: 1")),
            ("accessKeyId", json!("")),
            ("secretAccessKey", json!("a b")),
            ("secretAccessKey", json!(7)),
            ("sessionToken", json!("t\n")),
            ("sessionToken", json!("é")),
            ("sessionToken", json!("t".repeat(9000))),
            ("expiration", json!("soon")),
        ] {
            let mut changed = answer();
            changed["credentials"][field] = value;
            texts.push(changed.to_string());
        }
        for text in texts {
            let error = failure(&text);
            assert!(!error.is_empty() && !error.contains(secret), "{error}");
        }
    }

    #[test]
    fn tokens_are_decoded() {
        let with = |field: &str, value: Value| {
            let mut data = json!({
                "authorizationToken": openssl::base64::encode_block(b"AWS:secret"),
                "expiresAt": 1_795_651_200.25, "proxyEndpoint": "https://r.example:5000" });
            data[field] = value;
            token(
                json!({ "authorizationData": [data] })
                    .to_string()
                    .as_bytes(),
            )
        };
        let valid = with("later", json!(1)).unwrap();
        assert_eq!(valid.password.expose(), "secret");
        assert_eq!(valid.registry, "r.example:5000");
        assert_eq!(valid.expires, 1_795_651_200);
        for wrong in [
            &b"AWS:"[..],
            b"",
            b"root:x",
            b"AWS:a\nb",
            b"AWS:a\0",
            b"AWS:\xff",
        ] {
            let encoded = openssl::base64::encode_block(wrong);
            assert!(
                with("authorizationToken", json!(encoded)).is_err(),
                "{wrong:?}"
            );
        }
        for (field, value) in [
            ("authorizationToken", json!("%%%")),
            ("authorizationToken", Value::Null),
            ("proxyEndpoint", json!("http://r.example")),
            ("proxyEndpoint", Value::Null),
            ("expiresAt", json!(-1)),
            ("expiresAt", json!(1e300)),
            ("expiresAt", json!("soon")),
            ("expiresAt", Value::Null),
        ] {
            assert!(with(field, value.clone()).is_err(), "{field} {value}");
        }
        for answer in [
            "",
            "{}",
            r#"{"authorizationData":[]}"#,
            r#"{"authorizationData":[{}]}"#,
        ] {
            assert!(token(answer.as_bytes()).is_err(), "{answer}");
        }
    }
}
