//! `release` and `revoke`: make, push and sign release sets. `bundle`: writes one to a file.

pub(super) mod bundle;
mod group;
mod revocation;
mod window;

use std::io::IsTerminal as _;

use anyhow::{Result, bail};
use edge_common::contract::set;
use edge_common::exit::Failure;
use edge_common::{known_time, log, time};
use edge_signature::set::{ReleaseSet, SetKeys, SetProof};
use edge_signature::{Digest, Draft, Error, ImageRef, Keys, Manifest, Registry};
use serde_json::json;

use crate::cli::release::ReleaseOptions;
use crate::commands::consent::{self, USAGE};
use crate::exit_code::{SIGNATURE, registry_error};
use crate::project::config::Project;
use crate::project::signing::Signer;

/// Name of revocation lists, and part of their tags.
const REVOKED: &str = "revoked";
const DAY_SECONDS: u64 = 86_400;

/// Registry and set key of one command.
struct Releasing<'a> {
    registry: Registry,
    signer: Signer,
    trusted: SetKeys,
    options: &'a ReleaseOptions,
}

/// Makes the release set of a group, shows what it changes, pushes and signs it; with
/// `--sign` adds a signature to an earlier one.
pub(super) async fn release(project: &Project, name: &str, options: &ReleaseOptions) -> Result<()> {
    let releasing = Releasing::new(project, options).await?;
    if let Some(number) = options.sign {
        return releasing.sign_again(name, number).await;
    }
    let group = group::find(project, name)?;
    let (last, number) = releasing.last(name).await?;
    let mut set = releasing.set(name, number);
    group::fill(project, &releasing.registry, group, last.as_ref(), &mut set).await?;
    for line in group::changes(last.as_ref(), &set) {
        eprintln!("{line}");
    }
    releasing.publish(&set).await
}

/// Makes a revocation list, pushes and signs it; with `--sign` adds a signature to an earlier
/// one.
pub(super) async fn revoke(
    project: &Project,
    images: &[String],
    restore: &[String],
    options: &ReleaseOptions,
) -> Result<()> {
    let releasing = Releasing::new(project, options).await?;
    if let Some(number) = options.sign {
        return releasing.sign_again(REVOKED, number).await;
    }
    if images.is_empty() && restore.is_empty() {
        return Err(Failure::error(USAGE, "name what is revoked, or --restore"));
    }
    let (_, number) = releasing.last(REVOKED).await?;
    let mut set = releasing.set(REVOKED, number);
    set.things = vec!["*".into()];
    set.revoked = revocation::digests(&releasing.registry, images).await?;
    set.restored = revocation::digests(&releasing.registry, restore).await?;
    for (what, digests) in [("revoked", &set.revoked), ("restored", &set.restored)] {
        for digest in digests {
            eprintln!("{what}  {digest}");
        }
    }
    releasing.publish(&set).await
}

impl<'a> Releasing<'a> {
    async fn new(project: &Project, options: &'a ReleaseOptions) -> Result<Self> {
        let signer = Signer::set(project, options.key.as_deref()).await?;
        let keys = signer.keys().await?;
        Ok(Self {
            registry: project.registry().await?,
            signer,
            trusted: SetKeys { keys, threshold: 1 },
            options,
        })
    }

    fn keys(&self) -> &Keys {
        &self.trusted.keys
    }

    /// Returns an empty set.
    fn set(&self, name: &str, number: u64) -> ReleaseSet {
        let end = known_time::clock() + u64::from(self.options.days) * DAY_SECONDS;
        ReleaseSet::new(name, number, end, &[])
    }

    /// Returns the last set of the name that this key has signed, and the number of the next
    /// one. The floor of a device is one for all names, so all of them count.
    async fn last(&self, name: &str) -> Result<(Option<ReleaseSet>, u64)> {
        let tags = self.registry.tags().await.map_err(registry_error)?;
        let sets = tags.iter().filter_map(|tag| parse_tag(tag));
        let highest = sets.clone().map(|(_, number)| number).max().unwrap_or(0);
        let mut own: Vec<_> = sets.filter(|(n, _)| *n == name).map(|(_, n)| n).collect();
        own.sort_unstable();
        let next = (highest + 1).max(known_time::clock());
        for number in own.into_iter().rev() {
            let digest = self.digest(name, number).await?;
            match self.registry.set(&self.trusted, &digest).await {
                Ok((verified, _)) => return Ok((Some(verified.set), next)),
                // Anyone who can push can make such a tag. What it says changes nothing.
                Err(Error::Unsigned(_) | Error::Untrusted(_) | Error::Malformed(_)) => {
                    let tag = set::tag(name, number);
                    log::info(format_args!("{tag} is not signed by this key: skipped"));
                }
                Err(error) => return Err(registry_error(error)),
            }
        }
        Ok((None, next))
    }

    async fn digest(&self, name: &str, number: u64) -> Result<Digest> {
        let image = ImageRef {
            repository: self.registry.repository().clone(),
            tag: Some(set::tag(name, number)),
            digest: None,
        };
        let manifest = self.registry.resolve(&image).await;
        Ok(manifest.map_err(registry_error)?.digest)
    }

    /// Pushes and signs a set, after the user's consent.
    async fn publish(&self, set: &ReleaseSet) -> Result<()> {
        // Before the question: what cannot be released is no choice.
        set.to_bytes().map_err(registry_error)?;
        self.confirm(set)?;
        let digest = self.registry.push_set(set).await.map_err(registry_error)?;
        let proof = self.registry.set_artifact(&digest).await;
        self.sign(&proof.map_err(registry_error)?, set).await
    }

    /// Adds the signature of this key to a set that is in the registry.
    async fn sign_again(&self, name: &str, number: u64) -> Result<()> {
        let digest = self.digest(name, number).await?;
        let proof = self.registry.set_artifact(&digest).await;
        let proof = proof.map_err(registry_error)?;
        let document = proof.document().map_err(registry_error)?;
        // What is signed has been understood, and shown.
        let set = ReleaseSet::parse(document).map_err(registry_error)?;
        if (set.name.as_str(), set.serial) != (name, number) {
            let why = format!("{} is set {} {}", digest, set.name, set.serial);
            return Err(Failure::error(SIGNATURE, why));
        }
        for line in group::content(&set) {
            eprintln!("{line}");
        }
        self.confirm(&set)?;
        self.sign(&proof, &set).await
    }

    fn confirm(&self, set: &ReleaseSet) -> Result<()> {
        let (name, number) = (&set.name, set.serial);
        eprintln!(
            "set {name} {number}, for {}, until {}",
            set.things.join(" "),
            time::rfc3339(set.expires)
        );
        if self.options.yes {
            return Ok(());
        }
        if !std::io::stdin().is_terminal() {
            let why = "sign this set with --yes, or at a terminal";
            return Err(Failure::error(USAGE, why));
        }
        match consent::ask("Sign it? [y/N] ")?.as_str() {
            "y" | "Y" | "yes" => Ok(()),
            _ => bail!("not signed"),
        }
    }

    /// Signs the artifact, verifies the stored signature, and prints the set.
    async fn sign(&self, proof: &SetProof, set: &ReleaseSet) -> Result<()> {
        let (registry, repository) = (&self.registry, self.registry.repository());
        let manifest = Manifest::new(proof.manifest().to_vec());
        for format in self.options.format.list() {
            let draft = Draft::of_set(*format, repository, &manifest.digest, set);
            let signature = self.signer.sign(&draft.to_sign()).await?;
            let signed = draft.signed(signature);
            // As for images: verified before it is stored, and read back.
            let mut new = proof.clone();
            new.add(vec![signed.clone()]);
            new.verify(&self.trusted, repository)
                .map_err(|e| Failure::error(SIGNATURE, format_args!("the new signature: {e}")))?;
            let pushed = registry.push_signature(self.keys(), &manifest, &signed);
            pushed.await.map_err(registry_error)?;
        }
        let stored = registry.set(&self.trusted, &manifest.digest).await;
        let (verified, _) = stored.map_err(registry_error)?;
        let reference = format!("{repository}@{}", verified.digest);
        match self.options.output.json {
            true => println!(
                "{}",
                json!({ "set": reference, "name": set.name, "number": set.serial,
                    "tag": set.tag(), "expires": set.expires, "signer": verified.signers,
                    "document": serde_json::to_value(set)? })
            ),
            false => println!("{reference}"),
        }
        Ok(())
    }
}

/// Returns name and number of the set with a tag; `None` for tags of images.
fn parse_tag(tag: &str) -> Option<(&str, u64)> {
    let (name, number) = tag.strip_prefix("set.")?.rsplit_once('.')?;
    let number = number.parse().ok()?;
    (set::tag(name, number) == tag).then_some((name, number))
}
