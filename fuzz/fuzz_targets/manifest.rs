//! Manifests of images, indexes and signatures, as a registry may send them.
#![no_main]

use edge_signature::{Digest, Manifest, Signed};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let manifest = Manifest::new(bytes.to_vec());
    assert_eq!(manifest.digest, Digest::of(bytes));
    let index = manifest.is_index();
    // An image or an index, never both: see CVE-2021-41190.
    assert_eq!(manifest.config().is_ok(), index == Ok(false));
    if let Ok(Some(child)) = manifest.child() {
        assert_eq!(index, Ok(true));
        assert!(manifest.children().unwrap().contains(&child));
    }
    if let Ok(layers) = manifest.layers() {
        for text in layers.iter().flat_map(|l| l.annotations.values()) {
            let _ = Signed::from_text(bytes.to_vec(), text);
        }
    }
});
