//! Key of a ticket: the request to the engine that it is for.

/// Unambiguous encoding of the request that a ticket is for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Key(Vec<u8>);

impl Key {
    /// Returns the key of one request to the engine, byte by byte.
    pub fn request(method: &str, uri: &str, body: &[u8]) -> Self {
        Self::of(&[b"request", method.as_bytes(), uri.as_bytes(), body])
    }

    /// Returns the key of a request that docker's client writes in its own form.
    pub fn arguments<T: AsRef<str>>(kind: &str, arguments: &[T]) -> Self {
        let arguments = arguments.iter().map(|a| a.as_ref().as_bytes());
        let parts: Vec<_> = [b"words", kind.as_bytes()]
            .into_iter()
            .chain(arguments)
            .collect();
        Self::of(&parts)
    }

    /// Returns the encoding: two different keys differ in it.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Joins parts, each behind its length, so that no two lists are encoded alike.
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
