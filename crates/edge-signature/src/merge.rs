//! Choice of the signatures that a cached signature keeps.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use crate::annotations::Annotations;
use crate::cached::{CachedSignature, VERSION};
use crate::keys::Keys;
use crate::limits::MAX_KEPT_SIGNATURES;
use crate::manifest::Manifest;
use crate::reference::{Digest, Repository};
use crate::signed::Signed;
use crate::verify::verify_one;

/// Difference between two signatures that are both kept: coverage of an image of the index
/// instead of the index, app, and version.
type Key = (bool, String, String);

impl CachedSignature {
    /// Keeps the trusted signatures of this entry and of `older`, an earlier entry of the
    /// same manifest: of each app and version the one with the highest release number, and
    /// at most 64. The signature of `chosen` is always kept.
    ///
    /// A container that was created from the earlier entry stays verified this way, even
    /// if the registry no longer returns its signature.
    #[must_use]
    pub fn merged(
        mut self,
        older: Option<&Self>,
        keys: &Keys,
        repository: &Repository,
        chosen: &Annotations,
    ) -> Self {
        let older = older.filter(|older| older.manifest == self.manifest);
        let top = Digest::of(&self.manifest);
        let child = self.image().ok().map(|image: Manifest| image.digest);
        let mut kept: BTreeMap<Key, (Annotations, Signed)> = BTreeMap::new();
        let earlier = older.map_or(&[][..], |older| &older.signatures);
        for signed in earlier.iter().chain(&self.signatures) {
            let verify = |digest: &Digest| verify_one(keys, repository, digest, signed).ok();
            let of_top = verify(&top).map(|v| (false, v));
            let of_child = || child.as_ref().and_then(verify).map(|v| (true, v));
            let Some((is_child, verified)) = of_top.or_else(of_child) else {
                continue;
            };
            let new = verified.annotations;
            let key = (is_child, new.app.clone(), new.version.clone());
            let newer = |(old, _): &(Annotations, _)| new.release_number >= old.release_number;
            if kept.get(&key).is_none_or(newer) {
                kept.insert(key, (new, signed.clone()));
            }
        }
        limit(&mut kept, chosen);
        self.version = VERSION;
        let stated: BTreeSet<_> = kept.values().filter_map(|(a, _)| a.run.clone()).collect();
        let specs = older.map_or(&[][..], |older| &older.run_specs);
        let specs: BTreeMap<_, _> = specs
            .iter()
            .chain(&self.run_specs)
            .map(|bytes| (Digest::of(bytes), bytes.clone()))
            .filter(|(digest, _)| stated.contains(digest))
            .collect();
        self.run_specs = specs.into_values().collect();
        self.signatures = kept.into_values().map(|(_, signed)| signed).collect();
        if let Some(older) = older {
            for (name, value) in &older.unknown {
                self.unknown.entry(name).or_insert_with(|| value.clone());
            }
        }
        self
    }
}

/// Removes the lowest release numbers beyond the maximum, but not the one of `chosen`.
fn limit(kept: &mut BTreeMap<Key, (Annotations, Signed)>, chosen: &Annotations) {
    let rank = |signed: &Annotations| {
        let other = (&signed.app, &signed.version) != (&chosen.app, &chosen.version);
        (other, Reverse(signed.release_number))
    };
    let mut ranked: Vec<_> = kept
        .iter()
        .map(|(key, (a, _))| (rank(a), key.clone()))
        .collect();
    ranked.sort();
    for (_, key) in ranked.into_iter().skip(MAX_KEPT_SIGNATURES) {
        kept.remove(&key);
    }
}
