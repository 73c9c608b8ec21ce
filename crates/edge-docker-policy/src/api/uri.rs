//! Parser of request URIs of the engine's API; accepts only the plain form, without
//! percent-encoding in the path.
//!
//! The plugin receives the URI as it was sent, but the engine decodes and cleans the path
//! before it routes the request. `/containers/%63reate` would be a create request to the
//! engine and an unknown request to the plugin. Docker's client sends the plain form, so
//! that nothing is lost by refusing all others.

/// Oldest accepted minor version of the API, which is 1.24. In older versions, `start`
/// accepts a host configuration, and with it `Privileged`.
const OLDEST_MINOR: u32 = 24;

/// Path and query of a request URI in the accepted form.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Uri<'a> {
    /// Parts of the path without the API version, for example `["containers", "json"]`.
    pub(super) path: Vec<&'a str>,
    /// Text after `?`, not decoded; empty if there is none.
    pub(super) query: &'a str,
}

impl<'a> Uri<'a> {
    /// Parses `[/v1.NN]/part/…[?query]`; returns `None` for every other form.
    pub(super) fn parse(text: &'a str) -> Option<Self> {
        let (path, query) = text.split_once('?').unwrap_or((text, ""));
        // `;` is refused in a query: Go before 1.17 splits the query there, later
        // versions do not.
        let plain = |c: char| c.is_ascii_graphic() && !"\"#<>?\\^`{|};".contains(c);
        if !query.chars().all(plain) {
            return None;
        }
        let mut path: Vec<_> = path.strip_prefix('/')?.split('/').collect();
        if !path.iter().all(|part| is_plain_part(part)) {
            return None;
        }
        // A version that is not accepted stays a part of the path, which then matches no
        // rule.
        if path.len() > 1 && is_version(path[0]) {
            path.remove(0);
        }
        Some(Self { path, query })
    }

    /// Returns whether the query contains only names in `known`, none twice, and only
    /// values without encoding.
    pub(super) fn plain_query(&self, known: &[&str]) -> bool {
        let plain = |c: char| c.is_ascii_alphanumeric() || "._:-".contains(c);
        let Some(pairs) = self.pairs() else {
            return false;
        };
        pairs
            .iter()
            .all(|(name, value)| known.contains(name) && value.chars().all(plain))
    }

    /// Returns the names and decoded values of the query; `None` if a name is not in
    /// `known` or occurs twice, or if a value is malformed.
    pub(super) fn decoded(&self, known: &[&str]) -> Option<Vec<(&'a str, String)>> {
        let mut decoded = Vec::new();
        for (name, value) in self.pairs()? {
            if !known.contains(&name) {
                return None;
            }
            decoded.push((name, decode(value)?));
        }
        Some(decoded)
    }

    /// Returns the names and undecoded values of the query; `None` if a name is empty or
    /// occurs twice: the engine might use another of two values than the check.
    fn pairs(&self) -> Option<Vec<(&'a str, &'a str)>> {
        let mut pairs: Vec<(&str, &str)> = Vec::new();
        for pair in self.query.split('&').filter(|_| !self.query.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            if name.is_empty() || pairs.iter().any(|(n, _)| *n == name) {
                return None;
            }
            pairs.push((name, value));
        }
        Some(pairs)
    }
}

/// Returns whether a part of the path has only plain characters and no leading dot, so
/// that decoding and cleaning do not change it.
fn is_plain_part(part: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._:@-".contains(c);
    !part.is_empty() && !part.starts_with('.') && part.chars().all(plain)
}

/// Returns whether a part of the path is an accepted API version, `v1.24` to `v1.99`.
/// Exactly two digits are required, because the engine would parse `v1.041` as 1.41.
fn is_version(part: &str) -> bool {
    let minor = part.strip_prefix("v1.").filter(|m| m.len() == 2);
    minor
        .and_then(|m| m.parse::<u32>().ok())
        .is_some_and(|m| m >= OLDEST_MINOR)
}

/// Decodes percent-encoding, and `+` as a space, in a value of the query; `None` if the
/// value is malformed or not UTF-8.
fn decode(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'+' => b' ',
            b'%' => {
                let digit = |b: u8| char::from(b).to_digit(16);
                let value = digit(rest.next()?)? * 16 + digit(rest.next()?)?;
                u8::try_from(value).ok()?
            }
            other => other,
        });
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(text: &str) -> Option<Vec<&str>> {
        Uri::parse(text).map(|u| u.path)
    }

    #[test]
    fn an_accepted_version_is_removed() {
        for text in ["/v1.41/containers/json", "/containers/json?all=1"] {
            assert_eq!(path(text).unwrap(), ["containers", "json"]);
        }
        assert_eq!(path("/_ping").unwrap(), ["_ping"]);
        // Other versions stay in the path, which then matches no rule.
        for text in ["/v1.23/x", "/v1.4/x", "/v2.41/x", "/v1.410/x", "/v1.+9/x"] {
            assert_ne!(path(text).unwrap_or_default(), ["x"], "{text}");
        }
    }

    #[test]
    fn other_forms_are_rejected() {
        for text in [
            "",
            "containers/json",
            "/",
            "//containers/json",
            "/containers//json",
            "/containers/json/",
            "/containers/./json",
            "/x/../containers/json",
            "/v1.41/containers/%63reate",
            "/containers/create#x",
            "/containers\\create",
            "http://docker/containers/create",
            "/containers/create;x",
            "/containers/cr eate",
            "/containers/créate",
            "/containers/json?a=\n",
            "*",
        ] {
            assert_eq!(path(text), None, "{text:?}");
        }
    }

    #[test]
    fn queries_have_known_names_once() {
        let plain = |query: &str, known: &[&str]| {
            let text = format!("/x?{query}");
            Uri::parse(&text).is_some_and(|u| u.plain_query(known))
        };
        assert!(plain("", &[]) && plain("t=10&signal=SIGTERM", &["signal", "t"]));
        for bad in ["t=1&t=2", "T=1", "x=1", "t=%31", "=1", "&", "t=1&", "t=a+b"] {
            assert!(!plain(bad, &["t"]), "{bad}");
        }
    }

    #[test]
    fn values_are_decoded() {
        let uri = Uri::parse("/x?repo=sandbox%2Fa%3A1&y=").unwrap();
        let pairs = uri.decoded(&["y", "repo"]).unwrap();
        assert_eq!(
            pairs,
            [("repo", "sandbox/a:1".into()), ("y", String::new())]
        );
        assert_eq!(uri.decoded(&["repo"]), None);
        for bad in ["/x?a=%", "/x?a=%2", "/x?a=%zz", "/x?a=%+1", "/x?a=%ff"] {
            assert_eq!(Uri::parse(bad).unwrap().decoded(&["a"]), None, "{bad}");
        }
    }
}
