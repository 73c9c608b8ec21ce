//! Keys of tickets: each identifies the one request that a ticket permits.

/// Unambiguous encoding of the request that a ticket permits.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key(Vec<u8>);

impl Key {
    /// Returns the key of a request to the engine, which only a request of the same bytes
    /// has.
    pub fn request(method: &str, uri: &str, body: &[u8]) -> Self {
        Self::of(&[b"request", method.as_bytes(), uri.as_bytes(), body])
    }

    /// Returns the key of a request that docker's client sends. The bytes of such a
    /// request are not known in advance, so it is identified by its arguments; `kind` is
    /// the command, for example `exec`.
    pub fn arguments<T: AsRef<str>>(kind: &str, arguments: &[T]) -> Self {
        let arguments = arguments.iter().map(|a| a.as_ref().as_bytes());
        // The first part differs from that of `request`, so that no arguments lead to the
        // key of a request that is compared by its bytes.
        let parts: Vec<_> = [&b"arguments"[..], kind.as_bytes()]
            .into_iter()
            .chain(arguments)
            .collect();
        Self::of(&parts)
    }

    /// Returns the encoded bytes, which differ for any two different keys.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Joins parts, each preceded by its length. With a separator instead, a part that
    /// contains the separator could lead to the same bytes as two parts.
    fn of(parts: &[&[u8]]) -> Self {
        let mut bytes = Vec::new();
        for part in parts {
            bytes.extend_from_slice(&(part.len() as u64).to_le_bytes());
            bytes.extend_from_slice(part);
        }
        Self(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_keep_lists_apart() {
        let pairs = [
            (Key::arguments("a", &["bc"]), Key::arguments("ab", &["c"])),
            (
                Key::arguments("a", &["b", "c"]),
                Key::arguments("a", &["bc"]),
            ),
            (Key::arguments("a", &["b", ""]), Key::arguments("a", &["b"])),
        ];
        for (one, two) in pairs {
            assert_ne!(one, two);
        }
    }
}
