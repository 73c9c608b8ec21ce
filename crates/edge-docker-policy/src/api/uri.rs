//! Addresses at the engine, in the one form that is taken: the engine decodes
//! and cleans before it routes, so that every other form is somebody's trick.

/// Oldest version whose `start` takes no host configuration.
const OLDEST: u32 = 24;

/// An address of strict form.
#[derive(Debug, PartialEq, Eq)]
pub struct Uri<'a> {
    /// Parts of the path, without the version.
    pub path: Vec<&'a str>,
    /// Behind `?`, as it stands.
    pub query: &'a str,
}

impl<'a> Uri<'a> {
    /// Reads `/v1.NN/part/…[?query]`; nothing if the form is another.
    pub fn parse(text: &'a str) -> Option<Self> {
        let (path, query) = text.split_once('?').unwrap_or((text, ""));
        let plain = |c: char| c.is_ascii_graphic() && !"\"#<>?\\^`{|};".contains(c);
        if !query.chars().all(plain) {
            return None;
        }
        let mut path: Vec<_> = path.strip_prefix('/')?.split('/').collect();
        if !path.iter().all(|part| good_part(part)) {
            return None;
        }
        if path.len() > 1 && is_version(path[0]) {
            path.remove(0);
        }
        Some(Self { path, query })
    }

    /// Names and values behind `?`, none twice, only `known` ones, nothing
    /// encoded.
    pub fn plain_query(&self, known: &[&str]) -> bool {
        let plain = |c: char| c.is_ascii_alphanumeric() || "._:-".contains(c);
        let Some(pairs) = self.pairs() else {
            return false;
        };
        pairs
            .iter()
            .all(|(name, value)| known.contains(name) && value.chars().all(plain))
    }

    /// Names and values behind `?`, none twice, only `known` ones, decoded.
    pub fn decoded(&self, known: &[&str]) -> Option<Vec<(&'a str, String)>> {
        let mut decoded = Vec::new();
        for (name, value) in self.pairs()? {
            if !known.contains(&name) {
                return None;
            }
            decoded.push((name, decode(value)?));
        }
        Some(decoded)
    }

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

fn good_part(part: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "._:@-".contains(c);
    !part.is_empty() && !part.starts_with('.') && part.chars().all(plain)
}

fn is_version(part: &str) -> bool {
    let minor = part.strip_prefix("v1.").filter(|m| m.len() == 2);
    minor
        .and_then(|m| m.parse::<u32>().ok())
        .is_some_and(|m| m >= OLDEST)
}

/// `%2F` and `+` as forms write them.
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
    fn the_version_goes() {
        for text in ["/v1.41/containers/json", "/containers/json?all=1"] {
            assert_eq!(path(text).unwrap(), ["containers", "json"]);
        }
        assert_eq!(path("/_ping").unwrap(), ["_ping"]);
        // Versions that are not taken stay, and match nothing.
        for text in ["/v1.23/x", "/v1.4/x", "/v2.41/x", "/v1.410/x", "/v1.+9/x"] {
            assert_ne!(path(text).unwrap_or_default(), ["x"], "{text}");
        }
    }

    #[test]
    fn other_forms_are_none() {
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
    fn queries() {
        let good = |query: &str, known: &[&str]| {
            let text = format!("/x?{query}");
            Uri::parse(&text).is_some_and(|u| u.plain_query(known))
        };
        assert!(good("", &[]) && good("t=10&signal=SIGTERM", &["signal", "t"]));
        for bad in ["t=1&t=2", "T=1", "x=1", "t=%31", "=1", "&", "t=1&", "t=a+b"] {
            assert!(!good(bad, &["t"]), "{bad}");
        }
    }

    #[test]
    fn decoding() {
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
