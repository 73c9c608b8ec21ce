//! Temporary keys of AWS from the role alias, and the password of the registry, which are kept
//! in memory alone. Requests are signed by Signature Version 4.

use anyhow::{Context, Result, bail, ensure};
use edge_common::{hex, time};
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::sha::sha256;
use openssl::sign::Signer;
use serde::Deserialize;

/// Size limit of an answer of either service, in bytes.
const MAX_ANSWER_BYTES: usize = 16 * 1024;
const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const CONTENT_TYPE: &str = "application/x-amz-json-1.1";
/// Request for the password of the registry, in the header `x-amz-target`.
const TARGET: &str = "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken";
/// Body of that request.
const BODY: &str = "{}";

/// Temporary keys. The type has no `Debug`, so that no log shows them.
pub struct Keys {
    access_key: String,
    secret: String,
    token: String,
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
            secret: secret_access_key,
            token: session_token,
            expires,
        })
    }
}

/// Signed request for the password of the registry.
pub struct TokenRequest {
    /// Host of the service.
    pub host: String,
    /// Headers without `host` and `content-length`.
    pub headers: Vec<(&'static str, String)>,
    /// Body.
    pub body: &'static str,
}

/// Returns the region of `ACCOUNT.dkr.ecr.REGION.amazonaws.com`.
///
/// # Errors
/// The registry is not one of AWS.
pub fn region(registry: &str) -> Result<&str> {
    let host = registry.split('/').next().unwrap_or_default();
    let region = host.split_once(".dkr.ecr.").and_then(|(_, rest)| {
        let (region, rest) = rest.split_once('.')?;
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-';
        let valid = !region.is_empty() && region.bytes().all(plain);
        (valid && rest.starts_with("amazonaws.com")).then_some(region)
    });
    region.with_context(|| format!("{host} is not ACCOUNT.dkr.ecr.REGION.amazonaws.com"))
}

/// Returns the signed request for the password of a registry at the time `now`.
///
/// # Errors
/// OpenSSL fails.
pub fn token_request(keys: &Keys, region: &str, now: u64) -> Result<TokenRequest> {
    let host = format!("api.ecr.{region}.amazonaws.com");
    let date: String = time::rfc3339(now)
        .chars()
        .filter(|c| !"-:".contains(*c))
        .collect();
    let signed = [
        ("content-type", CONTENT_TYPE),
        ("host", &*host),
        ("x-amz-date", &*date),
        ("x-amz-security-token", &*keys.token),
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
    let mut key = format!("AWS4{}", keys.secret).into_bytes();
    for part in scope.split('/') {
        key = hmac(&key, part)?;
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
    Ok(TokenRequest {
        host,
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
struct Token {
    authorization_data: Vec<Authorization>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Authorization {
    authorization_token: String,
}

/// Returns the password of the user `AWS` from the registry's answer.
///
/// # Errors
/// The answer is oversized or has another form; the error quotes none of it.
pub fn password(answer: &[u8]) -> Result<String> {
    ensure!(
        answer.len() <= MAX_ANSWER_BYTES,
        "the registry's answer is too large"
    );
    let token = serde_json::from_slice::<Token>(answer).ok();
    let token = token.and_then(|token| token.authorization_data.into_iter().next());
    let token = token.context("the registry's answer has no token")?;
    let decoded = openssl::base64::decode_block(&token.authorization_token).ok();
    let decoded = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
    match decoded
        .as_deref()
        .and_then(|text| text.strip_prefix("AWS:"))
    {
        Some(password) if is_visible(password, MAX_ANSWER_BYTES) => Ok(password.into()),
        _ => bail!("the registry's token has another form"),
    }
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
        let request = token_request(&keys, "eu-central-1", 1_795_608_000).unwrap();
        assert_eq!(request.host, "api.ecr.eu-central-1.amazonaws.com");
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
    fn passwords_are_decoded() {
        let token = |text: &[u8]| {
            let token = openssl::base64::encode_block(text);
            let answer = json!({ "authorizationData": [{ "authorizationToken": token }] });
            password(answer.to_string().as_bytes())
        };
        assert_eq!(token(b"AWS:secret").unwrap(), "secret");
        for wrong in [&b"AWS:"[..], b"", b"root:x", b"AWS:a\nb", b"AWS:\xff"] {
            assert!(token(wrong).is_err(), "{wrong:?}");
        }
        for answer in [
            "",
            "{}",
            r#"{"authorizationData":[]}"#,
            r#"{"authorizationData":[{}]}"#,
        ] {
            assert!(password(answer.as_bytes()).is_err(), "{answer}");
        }
        let broken = br#"{"authorizationData":[{"authorizationToken":"%%%"}]}"#;
        assert!(password(broken).is_err());
    }

    #[test]
    fn regions_stand_in_the_name_of_the_registry() {
        let host = "123456789012.dkr.ecr.eu-central-1.amazonaws.com";
        assert_eq!(region(&format!("{host}/apps")).unwrap(), "eu-central-1");
        for wrong in [
            "",
            "registry.example/apps",
            "1.dkr.ecr..amazonaws.com",
            "1.dkr.ecr.a b.amazonaws.com",
            "1.dkr.ecr.x.example",
        ] {
            assert!(region(wrong).is_err(), "{wrong}");
        }
    }
}
