//! Keys of tickets: the requests that they are for.

/// Unambiguous encoding of the request that a ticket is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key(Vec<u8>);

impl Key {
    /// Returns the key of one request to the engine, byte by byte.
    pub fn request(method: &str, uri: &str, body: &[u8]) -> Self {
        Self::of(&[b"request", method.as_bytes(), uri.as_bytes(), body])
    }

    /// Returns the key of a request of docker's client, whose bytes are not known before it
    /// sends them: the arguments stand for them.
    pub fn arguments<T: AsRef<str>>(kind: &str, arguments: &[T]) -> Self {
        let arguments = arguments.iter().map(|a| a.as_ref().as_bytes());
        // The first part differs from that of `request`: no arguments can be chosen that
        // permit a request.
        let parts: Vec<_> = [&b"arguments"[..], kind.as_bytes()]
            .into_iter()
            .chain(arguments)
            .collect();
        Self::of(&parts)
    }

    /// Returns the encoding: two different keys differ in it.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Joins parts, each behind its length: with a separator instead, a part that holds it
    /// would make two lists alike.
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
