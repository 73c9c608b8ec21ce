//! Address from which RAUC can read a bundle of the registry in parts.
//!
//! A registry of AWS answers a request for a blob with a redirect to a presigned address on
//! another host, which accepts no credentials. RAUC would send them there, so it gets the
//! address alone, and the credentials go to the registry and nowhere else.

use std::io::Read;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use edge_common::connect::CaBundle;
use edge_common::contract::path::REPOSITORY;
use edge_common::exit::Failure;
use edge_common::https::{Client, ErrorKind, Request, Response};
use edge_common::identity::DeviceConfig;
use edge_common::{Root, file};
use edge_signature::os::OsImage;
use edge_signature::{BUNDLE_TAIL_BYTES, Keys, Repository};
use openssl::base64::encode_block;

use crate::args::Image;
use crate::bundle;
use crate::preflight::Source;

/// Time limit of a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);
/// Time limit of a request, the longest of which fetches the signature.
const TIMEOUT: Duration = Duration::from_secs(60);
/// Size limit of a password, in bytes. Those of ECR have about 2,500.
const MAX_PASSWORD_BYTES: u64 = 16 * 1024;
/// Number of redirects that are followed.
const MAX_REDIRECTS: usize = 3;
/// Size limit of the name of the repository, in bytes.
const MAX_REPOSITORY_BYTES: u64 = 1024;

/// User name and password of the registry.
pub(crate) struct Login {
    /// User name.
    pub(crate) username: String,
    /// Password.
    pub(crate) password: String,
}

impl Login {
    /// Reads the password of `--username` from standard input.
    ///
    /// # Errors
    /// It is empty, has several lines or other characters, or is too long.
    pub(crate) fn read(image: &Image) -> Result<Option<Self>> {
        let Some(username) = &image.username else {
            return Ok(None);
        };
        let mut bytes = Vec::new();
        let limit = MAX_PASSWORD_BYTES + 2;
        std::io::stdin().take(limit).read_to_end(&mut bytes)?;
        let line = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let visible = |bytes: &[u8]| !bytes.is_empty() && bytes.iter().all(u8::is_ascii_graphic);
        let fits = line.len() as u64 <= MAX_PASSWORD_BYTES;
        if !visible(line) || !fits || !visible(username.as_bytes()) || username.contains(':') {
            return Err(Failure::error(
                2,
                "user name and password are one line each of visible characters, the name without colon",
            ));
        }
        Ok(Some(Self {
            username: username.clone(),
            password: String::from_utf8(line.to_vec())?,
        }))
    }
}

/// Host and target of a request.
struct Place {
    host: String,
    target: String,
}

/// Examines the bundle in the registry. Returns the address for RAUC, unless the bundle is
/// refused.
pub(crate) fn examine(
    root: &Root,
    image: &OsImage,
    keys: &Keys,
    login: Option<&Login>,
) -> (Source, Option<String>) {
    match found(root, image, keys, login) {
        Ok((source, address)) => (source, address),
        Err(error) => (Source::Unusable(format!("{error:#}")), None),
    }
}

fn found(
    root: &Root,
    image: &OsImage,
    keys: &Keys,
    login: Option<&Login>,
) -> Result<(Source, Option<String>)> {
    let text = file::read_text(&root.path(REPOSITORY), MAX_REPOSITORY_BYTES)
        .context("this image names no registry: pass --bundle")?;
    let repository: Repository = text.trim().parse().context(REPOSITORY)?;
    let ca_bundle = CaBundle::load(root)?;
    let config = DeviceConfig::load(root).ok();
    let proxy = config.and_then(|c| c.proxy);
    let client = Client {
        ca_bundle: &ca_bundle,
        proxy: proxy.as_deref(),
        identity: None,
        connect_timeout: CONNECT_TIMEOUT,
        timeout: TIMEOUT,
    };
    let place = Place {
        host: repository.host().into(),
        target: format!("/v2/{}/blobs/{}", repository.path(), image.bundle),
    };
    let (place, status, length) = resolve(&client, place, login)?;
    let source = Source::Server { status, length };
    if status != 206 || length != Some(image.bundle_size) {
        return Ok((source, None));
    }
    let size = image.bundle_size;
    let tail = BUNDLE_TAIL_BYTES as u64;
    let mut request = Request::get(&place.host, &place.target, BUNDLE_TAIL_BYTES);
    request.range = Some(size.saturating_sub(tail)..=size - 1);
    let response = client.send(&request)?;
    bundle::signature(size, &response.body, image, keys)?;
    let Place { host, target } = place;
    Ok((source, Some(format!("https://{host}{target}"))))
}

/// Follows redirects to the place that sends the bundle in parts without credentials.
/// Returns it with the status and the stated size.
fn resolve(
    client: &Client,
    mut place: Place,
    login: Option<&Login>,
) -> Result<(Place, u16, Option<u64>)> {
    let mut authorization = login.map(|l| {
        let pair = format!("{}:{}", l.username, l.password);
        format!("Basic {}", encode_block(pair.as_bytes()))
    });
    let mut moved = false;
    for _ in 0..=MAX_REDIRECTS + 1 {
        let headers: Vec<_> = authorization
            .iter()
            .map(|a| ("authorization", a.as_str()))
            .collect();
        let mut request = Request::get(&place.host, &place.target, 1);
        request.headers = &headers;
        request.range = Some(0..=0);
        let response = client.send(&request).map_err(|error| match error.kind {
            ErrorKind::Response => anyhow::Error::from(error).context(
                "the bundle cannot be read in parts; a cache that is still cold sends it whole: \
                 try again",
            ),
            _ => error.into(),
        })?;
        match response.status {
            301 | 302 | 303 | 307 | 308 => {
                place = redirected(&response)?;
                moved = true;
            }
            401 | 403 if moved => bail!(
                "{}, to which the registry redirects, does not send the bundle: try again",
                place.host
            ),
            // RAUC can send no credentials without showing them on its command line.
            206 if authorization.is_some() => {}
            401 | 403 if authorization.is_some() => {
                bail!("{} does not accept the password: get a new one", place.host)
            }
            401 | 403 => bail!(
                "{} sends the bundle with a password alone, which RAUC would show to every \
                 process: pass --bundle with a copy, or --username with a registry that redirects",
                place.host
            ),
            404 => bail!("{} does not have the bundle: push it again", place.host),
            status => return Ok((place, status, response.range.map(|(_, size)| size))),
        }
        authorization = None;
    }
    bail!("the registry redirects more than {MAX_REDIRECTS} times")
}

/// Returns the place to which a response redirects.
fn redirected(response: &Response) -> Result<Place> {
    let location = response
        .header("location")
        .context("the registry redirects to nowhere")?;
    // The address may contain a signature, which is a secret for a while.
    let rest = location
        .strip_prefix("https://")
        .context("the registry redirects to an address that is not https://")?;
    let rest = rest.split('#').next().unwrap_or_default();
    let slash = rest.find('/').unwrap_or(rest.len());
    let (host, target) = rest.split_at(slash);
    if host.is_empty() || host.contains(['@', '?', '\\']) {
        bail!("the registry redirects to an address with a malformed host");
    }
    Ok(Place {
        host: host.into(),
        target: if target.is_empty() { "/" } else { target }.into(),
    })
}
