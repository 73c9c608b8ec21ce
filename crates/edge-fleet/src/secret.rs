//! Text that is overwritten in memory when it is dropped.

/// Secret text. The type has neither `Debug` nor `Display`, so that no log shows it.
pub struct Secret(String);

impl Secret {
    /// Returns the text.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        wipe(std::mem::take(&mut self.0).into_bytes());
    }
}

/// Overwrites bytes before their memory is used again.
pub(crate) fn wipe(mut bytes: Vec<u8>) {
    bytes.fill(0);
    // Otherwise the compiler may leave out a write that nothing reads.
    std::hint::black_box(&bytes);
}
