//! Names of images: an accepted one has one meaning, and is printed as it was read.
#![no_main]

use edge_signature::{Digest, ImageRef, Repository, valid_app, valid_version};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(image) = text.parse::<ImageRef>() {
        assert_eq!(image.to_string(), text);
        assert!(image.tag.is_some() || image.digest.is_some());
        assert!(text.is_ascii() && !text.contains(char::is_whitespace));
        assert!(!text.contains("..") || image.tag.as_ref().is_some_and(|t| t.contains("..")));
        let reparsed: Repository = image.repository.to_string().parse().unwrap();
        assert_eq!(reparsed, image.repository);
        let (host, path) = (image.repository.host(), image.repository.path());
        assert!(!host.contains('/') && !path.contains([':', '@', '%', '?', '#']));
    }
    if let Ok(digest) = text.parse::<Digest>() {
        assert_eq!(digest.as_str(), text);
        assert_eq!(digest.hex().len(), 64);
    }
    if valid_app(text) || valid_version(text) {
        assert!(!text.contains(['/', ':', '\0', ' ', '\n']) && !text.starts_with(['-', '.']));
    }
});
