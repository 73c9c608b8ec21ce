//! Verification of AWS Signature Version 4.

use anyhow::{Context, Result};
use edge_common::{hex, time};
use openssl::hash::MessageDigest;
use openssl::pkey::PKey;
use openssl::sha::sha256;
use openssl::sign::Signer;

use super::http::Request;

/// Largest difference between the clocks of client and service, in seconds.
const MAX_SKEW: u64 = 300;
const ALGORITHM: &str = "AWS4-HMAC-SHA256";

/// Secret of an access key.
#[derive(Clone)]
pub(crate) struct Secret {
    /// Secret access key.
    pub key: String,
    /// Session token; a long-term key has none.
    pub token: Option<String>,
    /// End of validity, Unix time; a long-term key has none.
    pub expires: Option<u64>,
}

/// Service that a signature must name.
pub(crate) struct Scope {
    /// Region of the service.
    pub region: &'static str,
    /// Signing name of the service.
    pub service: &'static str,
}

/// Error type and message of a signature that does not verify.
pub(crate) type Refused = (&'static str, String);

fn invalid(message: impl Into<String>) -> Refused {
    ("InvalidSignatureException", message.into())
}

/// Parts of the header `Authorization`.
struct Authorization<'a> {
    access_key: &'a str,
    /// Date, region, service and `aws4_request`.
    scope: &'a str,
    signed: Vec<&'a str>,
    signature: &'a str,
}

fn parse(header: &str) -> Option<Authorization<'_>> {
    let fields = header.strip_prefix(ALGORITHM)?.trim();
    let field = |name: &str| {
        let mut fields = fields.split(',').map(str::trim);
        fields.find_map(|field| field.strip_prefix(name)?.strip_prefix('='))
    };
    let (access_key, scope) = field("Credential")?.split_once('/')?;
    Some(Authorization {
        access_key,
        scope,
        signed: field("SignedHeaders")?.split(';').collect(),
        signature: field("Signature")?,
    })
}

/// Verifies the signature of a request at the time `now`; `secret` returns the secret of an
/// access key. Returns the access key.
///
/// # Errors
/// If the signature is absent, wrong, for another service, too old or by an unknown key.
pub(crate) fn verify(
    request: &Request,
    scope: &Scope,
    now: u64,
    secret: impl Fn(&str) -> Option<Secret>,
) -> Result<String, Refused> {
    let header = request.header("authorization").ok_or((
        "MissingAuthenticationTokenException",
        "Missing Authentication Token".into(),
    ))?;
    let authorization = parse(header).ok_or((
        "IncompleteSignatureException",
        "Authorization header is incomplete".into(),
    ))?;
    let date = request.header("x-amz-date").unwrap_or_default();
    let at = unix_time(date).ok_or_else(|| invalid("x-amz-date is absent or malformed"))?;
    if at.abs_diff(now) > MAX_SKEW {
        return Err(invalid(format!(
            "Signature expired or not yet current: {date}"
        )));
    }
    let day = date.get(..8).unwrap_or_default();
    let wanted = format!("{day}/{}/{}/aws4_request", scope.region, scope.service);
    if authorization.scope != wanted {
        return Err(invalid(format!("Credential should be scoped to {wanted}")));
    }
    let secret = secret(authorization.access_key).ok_or((
        "UnrecognizedClientException",
        "The security token included in the request is invalid.".into(),
    ))?;
    if secret.token.as_deref() != request.header("x-amz-security-token") {
        return Err((
            "UnrecognizedClientException",
            "The security token included in the request is invalid.".into(),
        ));
    }
    if secret.expires.is_some_and(|end| end <= now) {
        return Err((
            "ExpiredTokenException",
            "The security token included in the request is expired".into(),
        ));
    }
    let unsigned = request
        .headers
        .iter()
        .map(|(name, _)| name.as_str())
        .find(|name| {
            (*name == "host" || name.starts_with("x-amz-")) && !authorization.signed.contains(name)
        });
    if let Some(name) = unsigned {
        return Err(invalid(format!("header {name} is not signed")));
    }
    let signature = canonical(request, &authorization.signed)
        .and_then(|canonical| sign(&secret.key, authorization.scope, date, &canonical).ok());
    let equal = |signature: &String| {
        let (got, wanted) = (authorization.signature.as_bytes(), signature.as_bytes());
        got.len() == wanted.len() && openssl::memcmp::eq(got, wanted)
    };
    match signature.filter(equal) {
        Some(_) => Ok(authorization.access_key.into()),
        None => Err(invalid(
            "The request signature we calculated does not match the signature you provided.",
        )),
    }
}

/// Parses a time of the form `20261125T120000Z`.
fn unix_time(date: &str) -> Option<u64> {
    let (day, rest) = date.split_at_checked(8)?;
    let clock = rest.strip_prefix('T')?.strip_suffix('Z')?;
    if day.len() != 8
        || clock.len() != 6
        || !day.bytes().chain(clock.bytes()).all(|b| b.is_ascii_digit())
    {
        return None;
    }
    let (year, month, of_month) = (&day[..4], &day[4..6], &day[6..]);
    let (hour, minute, second) = (&clock[..2], &clock[2..4], &clock[4..]);
    time::parse(&format!(
        "{year}-{month}-{of_month}T{hour}:{minute}:{second}Z"
    ))
}

/// Returns the canonical request over the headers that are signed; `None` if one of them is
/// absent.
fn canonical(request: &Request, signed: &[&str]) -> Option<String> {
    let mut parameters: Vec<_> = request.parameters()?;
    for (name, value) in &mut parameters {
        (*name, *value) = (encode(name, ""), encode(value, ""));
    }
    parameters.sort();
    let query: Vec<_> = parameters
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let headers: Option<String> = signed
        .iter()
        .map(|name| {
            let value = request.header(name)?.split_whitespace();
            Some(format!("{name}:{}\n", value.collect::<Vec<_>>().join(" ")))
        })
        .collect();
    // Except in S3, the encoded path is encoded again.
    Some(format!(
        "{}\n{}\n{}\n{}\n{}\n{}",
        request.method,
        encode(&request.path, "/"),
        query.join("&"),
        headers?,
        signed.join(";"),
        hex::encode(sha256(&request.body))
    ))
}

/// Percent-encodes all bytes but letters, digits, `-`, `_`, `.`, `~` and those of `kept`.
fn encode(text: &str, kept: &str) -> String {
    let plain =
        |b: u8| b.is_ascii_alphanumeric() || b"-_.~".contains(&b) || kept.as_bytes().contains(&b);
    let encoded = text.bytes().map(|byte| match plain(byte) {
        true => char::from(byte).to_string(),
        false => format!("%{byte:02X}"),
    });
    encoded.collect()
}

fn hmac(key: &[u8], text: &str) -> Result<Vec<u8>> {
    let key = PKey::hmac(key).context("preparing a key")?;
    let mut signer = Signer::new(MessageDigest::sha256(), &key)?;
    signer.update(text.as_bytes())?;
    Ok(signer.sign_to_vec()?)
}

/// Returns the signature of a canonical request.
fn sign(secret: &str, scope: &str, date: &str, canonical: &str) -> Result<String> {
    let mut key = format!("AWS4{secret}").into_bytes();
    for part in scope.split('/') {
        key = hmac(&key, part)?;
    }
    let digest = hex::encode(sha256(canonical.as_bytes()));
    Ok(hex::encode(hmac(
        &key,
        &format!("{ALGORITHM}\n{date}\n{scope}\n{digest}"),
    )?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_795_608_000;
    const SCOPE: Scope = Scope {
        region: "eu-central-1",
        service: "ecr",
    };

    fn secret(expires: u64) -> impl Fn(&str) -> Option<Secret> {
        move |key| {
            (key == "ASIAEDGEEXAMPLE00000").then(|| Secret {
                key: "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY".into(),
                token: Some("IQoJb3JpZ2luX2VjEXAMPLE==".into()),
                expires: Some(expires),
            })
        }
    }

    /// Request for a token of ECR, as botocore signs it.
    fn request() -> Request {
        let signature = "510a581f6d49d8ff399d80ec5db11bd63ea8475a173d9f5f790999d91b6c6066";
        let headers = [
            ("content-type", "application/x-amz-json-1.1"),
            ("host", "api.ecr.eu-central-1.amazonaws.com"),
            ("x-amz-date", "20261125T120000Z"),
            ("x-amz-security-token", "IQoJb3JpZ2luX2VjEXAMPLE=="),
            (
                "x-amz-target",
                "AmazonEC2ContainerRegistry_V20150921.GetAuthorizationToken",
            ),
        ];
        let signed: Vec<_> = headers.iter().map(|(name, _)| *name).collect();
        let mut headers: Vec<_> = headers
            .iter()
            .map(|(n, v)| (n.to_string(), v.to_string()))
            .collect();
        headers.push((
            "authorization".into(),
            format!(
                "{ALGORITHM} Credential=ASIAEDGEEXAMPLE00000/20261125/eu-central-1/ecr/aws4_request, \
                 SignedHeaders={}, Signature={signature}",
                signed.join(";")
            ),
        ));
        Request {
            method: "POST".into(),
            path: "/".into(),
            headers,
            body: b"{}".to_vec(),
            ..Request::default()
        }
    }

    #[test]
    fn the_signature_of_botocore_verifies() {
        let verified = verify(&request(), &SCOPE, NOW, secret(NOW + 1));
        assert_eq!(verified.unwrap(), "ASIAEDGEEXAMPLE00000");
    }

    #[test]
    fn every_change_is_refused() {
        let code = |request: &Request, scope: &Scope, now: u64, expires: u64| {
            verify(request, scope, now, secret(expires)).unwrap_err().0
        };
        let signature = "InvalidSignatureException";
        let mut body = request();
        body.body = b"{} ".to_vec();
        assert_eq!(code(&body, &SCOPE, NOW, NOW + 1), signature);
        for (name, value, wanted) in [
            (
                "x-amz-target",
                "AmazonEC2ContainerRegistry_V20150921.PutImage",
                signature,
            ),
            ("host", "api.ecr.eu-central-2.amazonaws.com", signature),
            ("content-type", "text/plain", signature),
            ("x-amz-date", "20261125T120001Z", signature),
            ("x-amz-date", "2026", signature),
            (
                "x-amz-security-token",
                "other",
                "UnrecognizedClientException",
            ),
            (
                "authorization",
                "Basic eDp5",
                "IncompleteSignatureException",
            ),
        ] {
            let mut changed = request();
            let header = changed.headers.iter_mut().find(|(known, _)| known == name);
            header.unwrap().1 = value.into();
            assert_eq!(
                code(&changed, &SCOPE, NOW, NOW + 1),
                wanted,
                "{name} {value}"
            );
        }
        for (name, wanted) in [
            ("authorization", "MissingAuthenticationTokenException"),
            ("x-amz-security-token", "UnrecognizedClientException"),
            ("host", signature),
            ("x-amz-date", signature),
        ] {
            let mut without = request();
            without.headers.retain(|(known, _)| known != name);
            assert_eq!(code(&without, &SCOPE, NOW, NOW + 1), wanted, "{name}");
        }
        let mut more = request();
        more.headers
            .push(("x-amz-content-sha256".into(), "0".into()));
        assert_eq!(code(&more, &SCOPE, NOW, NOW + 1), signature);
        let iot = Scope {
            service: "iot",
            ..SCOPE
        };
        assert_eq!(code(&request(), &iot, NOW, NOW + 1), signature);
        assert_eq!(code(&request(), &SCOPE, NOW + 301, NOW + 999), signature);
        assert_eq!(code(&request(), &SCOPE, NOW - 301, NOW + 999), signature);
        assert_eq!(code(&request(), &SCOPE, NOW, NOW), "ExpiredTokenException");
    }
}
