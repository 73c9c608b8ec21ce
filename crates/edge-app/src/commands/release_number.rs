//! Release number of the next signature of an app, above those of earlier ones.

use std::cmp::Reverse;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use edge_common::log;
use edge_signature::{Error, Format, ImageRef, Keys, Registry, Select};
use futures_util::stream::{self, StreamExt as _};

use crate::exit_code::registry_error;

/// Maximum number of versions of the app whose release numbers are compared, beginning
/// with the highest version.
const MAX_COMPARED_VERSIONS: usize = 16;
/// Maximum number of tags that are examined. Some are of other apps: the tag `a-b-1` may be
/// of app `a` or of app `a-b`, and only the signature decides.
const MAX_EXAMINED_TAGS: usize = 256;
/// Maximum number of tags whose signatures are read at the same time.
const PARALLEL_REQUESTS: usize = 8;

/// Returns the highest release number that the last versions of the app were signed with;
/// 0 if there is none.
///
/// A number is the Unix time in seconds, so that several laptops need no shared
/// counter. After a push from a laptop with a slow clock, devices would refuse the
/// version as a downgrade; therefore the signed numbers of the last versions are
/// compared, and those of the same version, which may be signed a second time.
pub(super) async fn highest(
    registry: &Registry,
    keys: &Keys,
    app: &str,
    version: &str,
) -> Result<u64> {
    let tags = registry.tags().await.map_err(registry_error)?;
    // In the order of the tags, so that the highest versions count however fast the
    // registry answers for the others.
    let mut numbers = stream::iter(candidates(tags, app, version))
        .map(|tag| signed_number(registry, keys, app, tag))
        .buffered(PARALLEL_REQUESTS);
    let (mut highest, mut compared) = (0, 0);
    while compared < MAX_COMPARED_VERSIONS
        && let Some(number) = numbers.next().await
    {
        if let Some(number) = number? {
            highest = highest.max(number);
            compared += 1;
        }
    }
    Ok(highest)
}

/// Returns the release number of a signature that is made now, after one with the number
/// `highest`.
pub(super) fn above(highest: u64) -> Result<u64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let next = highest.saturating_add(1);
    if next > now {
        log::warn(format_args!(
            "the clock is behind an earlier signature: using release number {next}, the next one"
        ));
    }
    Ok(next.max(now))
}

/// Returns the tags that may be versions of the app: first that of `version`, then the
/// others, beginning with the highest version.
fn candidates(tags: Vec<String>, app: &str, version: &str) -> Vec<String> {
    let prefix = format!("{app}-");
    let own = format!("{prefix}{version}");
    let mut tags: Vec<_> = tags
        .into_iter()
        .filter(|t| t.starts_with(&prefix))
        .collect();
    // Registries sort by letters, or not at all: `v9` would come after `v10`.
    tags.sort_by_cached_key(|tag| (*tag != own, Reverse(parts(&tag[prefix.len()..]))));
    tags.truncate(MAX_EXAMINED_TAGS);
    tags
}

/// Splits a version into digits and other characters, so that numbers are compared as
/// numbers: a longer one, without leading zeros, is the higher one.
fn parts(version: &str) -> Vec<(usize, String)> {
    let mut parts: Vec<(usize, String)> = Vec::new();
    let mut in_number = false;
    for c in version.chars() {
        let digit = c.is_ascii_digit();
        match parts.last_mut() {
            Some((length, text)) if digit == in_number => {
                if digit && text == "0" {
                    text.clear();
                } else if digit {
                    *length += 1;
                }
                text.push(c);
            }
            _ => parts.push((usize::from(digit), c.into())),
        }
        in_number = digit;
    }
    parts
}

/// Returns the highest signed release number of the app under a tag; `None` if the image is
/// not signed for the app by this key.
async fn signed_number(
    registry: &Registry,
    keys: &Keys,
    app: &str,
    tag: String,
) -> Result<Option<u64>> {
    let name = tag.clone();
    let image = ImageRef {
        repository: registry.repository().clone(),
        tag: Some(tag),
        digest: None,
    };
    let signed = async {
        let digest = registry.resolve(&image).await?.digest;
        let formats = [Format::V2, Format::V3];
        registry
            .verify_digest(keys, &digest, &formats, Select::App(app))
            .await
    };
    match signed.await {
        Ok(verified) => Ok(Some(verified.annotations.release_number)),
        Err(error @ Error::Unauthorized(_)) => Err(registry_error(error)),
        // Registries keep tags whose content they have lost, and answer for them with any
        // error. A registry that does not answer at all fails the push in other requests.
        Err(error @ Error::Unverifiable(_)) => {
            log::warn(format_args!(
                "tag {name} cannot be read, so its release number is not compared: {error}"
            ));
            Ok(None)
        }
        // Release numbers by other keys cannot be trusted.
        Err(_) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_versions_come_first() {
        let tags = |tags: &[&str]| tags.iter().map(ToString::to_string).collect::<Vec<_>>();
        let found = candidates(
            tags(&[
                "a-v1",
                "a-v10",
                "b-v1",
                "a-v9",
                "a-v007",
                "sha256-0.sig",
                "a-v2.10",
                "a-v2.9",
            ]),
            "a",
            "v2.9",
        );
        let sorted = ["a-v2.9", "a-v10", "a-v9", "a-v007", "a-v2.10", "a-v1"];
        assert_eq!(found, sorted);
        let many = (0..1000).map(|n| format!("a-{n}")).collect();
        let found = candidates(many, "a", "5");
        assert_eq!((found.len(), &*found[0], &*found[1]), (256, "a-5", "a-999"));
    }
}
