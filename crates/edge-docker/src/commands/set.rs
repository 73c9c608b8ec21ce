//! `set`: takes, loads, shows and commits release sets.

use std::io::IsTerminal as _;

use anyhow::{Context, Result};
use edge_common::{Root, time};
use edge_docker_policy::cli::args::Parsed;
use edge_docker_policy::refusal::refuse;
use edge_signature::set::{SetProof, SetRefusal, VerifiedSet};
use edge_signature::{Digest, ImageRef, Registry};
use serde_json::{Value, json};

use crate::image::bundle::{self, Bundle};
use crate::image::{failure, login};
use crate::ledger::Decision;
use crate::set::{self, Anchors};
use crate::trust;

/// Number of hex digits of a digest in text for people.
const SHOWN_DIGITS: usize = 12;

/// Carries out `set take`, `load`, `show`, `status`, `commit` and `repair`. With `--json`, a refused
/// set is printed on standard output, too, with the kind of the refusal.
pub(super) async fn run(root: &Root, parsed: &Parsed<'_>) -> Result<()> {
    let is_json = parsed.is_set("json");
    let done = match parsed.arguments[..] {
        ["take", reference] => take(root, parsed, reference).await,
        ["load", "-"] => load(root, is_json).await,
        ["show", name] => show(root, name, is_json),
        ["status"] => status(root, is_json),
        ["commit", name] => commit(root, name),
        ["repair"] => repair(root),
        _ => Err(refuse(
            "set takes take REPOSITORY@DIGEST, load -, show HEX, status, commit HEX or repair",
        )),
    };
    done.inspect_err(|error| {
        if let (true, Some(refusal)) = (is_json, error.downcast_ref::<SetRefusal>()) {
            let (reason, message) = (refusal.reason.as_str(), &refusal.message);
            println!("{}", json!({ "refused": reason, "message": message }));
        }
    })
}

async fn take(root: &Root, parsed: &Parsed<'_>, reference: &str) -> Result<()> {
    let anchors = Anchors::load(root)?;
    let digest = require_digest(&anchors, reference)?;
    let login = login::from_command_line(parsed)?;
    let login = login.or_else(|| login::credentials(root, anchors.repository.host()));
    let registry = Registry::new(&anchors.repository, login, &[]).map_err(failure::of)?;
    let proof = fetch(&anchors, &registry, &digest).await?;
    let verified = set::take(root, &anchors, proof, |verified| {
        record(root, "set take", verified)
    })?;
    match parsed.is_set("json") {
        true => println!("{}", document(root, &verified)?),
        false => println!("{}", line(&verified)),
    }
    Ok(())
}

/// Takes the set of a bundle on standard input, and gives its images to the engine. The
/// caller's shell opens the file: edge-docker, which runs as root, opens none by a name that a
/// caller chooses.
async fn load(root: &Root, is_json: bool) -> Result<()> {
    let (anchors, trust) = (Anchors::load(root)?, trust::load(root)?);
    if std::io::stdin().is_terminal() {
        return Err(refuse(
            "set load reads a bundle: edge-docker set load - < FILE",
        ));
    }
    let bundle = Bundle::open(std::io::stdin())?;
    let (registry, digest) = bundle.registry(&trust)?;
    let proof = fetch(&anchors, &registry, &digest).await?;
    let verified = set::take(root, &anchors, proof, |verified| {
        record(root, "set load", verified)
    })?;
    bundle::load(root, &trust, bundle, &verified, is_json).await?;
    match is_json {
        true => println!("{}", document(root, &verified)?),
        false => println!("{}", line(&verified)),
    }
    Ok(())
}

/// Returns the digest in the reference of a set, which must be in the one repository.
fn require_digest(anchors: &Anchors, reference: &str) -> Result<Digest> {
    let repository = &anchors.repository;
    let expected = || {
        refuse(format_args!(
            "{reference:?} is refused: a release set is named {repository}@sha256:DIGEST"
        ))
    };
    let image: ImageRef = reference.parse().map_err(|_| expected())?;
    // A tag could move to another set between two requests.
    match image.digest {
        Some(digest) if image.repository == *repository && image.tag.is_none() => Ok(digest),
        _ => Err(expected()),
    }
}

async fn fetch(anchors: &Anchors, registry: &Registry, digest: &Digest) -> Result<SetProof> {
    let found = registry.set(&anchors.keys, digest).await;
    let (_, proof) = found.map_err(|error| match SetRefusal::of(&error) {
        Some(refusal) => set::refused(digest, refusal),
        None => failure::of(error),
    })?;
    Ok(proof)
}

fn show(root: &Root, name: &str, is_json: bool) -> Result<()> {
    let verified = set::load(root, &Anchors::load(root)?, name)?;
    match is_json {
        true => println!("{}", document(root, &verified)?),
        false => {
            println!("{}", line(&verified));
            for app in verified.set.ordered() {
                println!("  {} {}  {}", app.name, app.version, app.digest);
            }
        }
    }
    Ok(())
}

fn commit(root: &Root, name: &str) -> Result<()> {
    let verified = set::load(root, &Anchors::load(root)?, name)?;
    set::commit(root, &verified, || record(root, "set commit", &verified))?;
    println!("{}", line(&verified));
    Ok(())
}

fn repair(root: &Root) -> Result<()> {
    let repaired = set::repair(root, || {
        let decision = Decision {
            verb: "set repair",
            ..Decision::default()
        };
        decision.record(root)
    })?;
    println!(
        "the record of release sets is written again: lowest number {}, {} digests",
        repaired.floor,
        repaired.digests.len()
    );
    Ok(())
}

/// Records in the ledger that a set is about to be taken or committed.
fn record(root: &Root, verb: &str, verified: &VerifiedSet) -> Result<()> {
    let keys: Vec<_> = verified.signers.iter().map(|key| shown(key)).collect();
    let reason = format!("{}, signed by {}", line(verified), keys.join(" and "));
    let decision = Decision {
        verb,
        image: verified.digest.as_str(),
        reason: &reason,
        ..Decision::default()
    };
    decision.record(root)
}

fn shown(hex: &str) -> &str {
    hex.get(..SHOWN_DIGITS).unwrap_or(hex)
}

fn line(verified: &VerifiedSet) -> String {
    let set = &verified.set;
    let kind = match set.is_revocation_list() {
        true => format!(
            "{} digests revoked, {} restored",
            set.revoked.len(),
            set.restored.len()
        ),
        false => format!("{} apps", set.apps.len()),
    };
    let hex = verified.digest.hex();
    format!(
        "set {} {} ({hex}): {kind}, to be taken until {}",
        set.name,
        set.serial,
        time::rfc3339(set.expires)
    )
}

/// Returns the JSON form of a set, with its standing on this device.
fn document(root: &Root, verified: &VerifiedSet) -> Result<Value> {
    let record = set::record(root)?;
    let content = serde_json::to_value(&verified.set).context("writing the set")?;
    let apps = &verified.set.apps;
    let revoked = apps.iter().filter(|app| record.is_revoked(&app.digest));
    let revoked: Vec<_> = revoked.map(|app| &app.name).collect();
    Ok(json!({
        "v": 1,
        "digest": verified.digest,
        "set": content,
        "signers": verified.signers,
        "list": verified.set.is_revocation_list(),
        "revoked_apps": revoked,
        "floor": record.floor,
        "committed": record.committed,
    }))
}

fn status(root: &Root, is_json: bool) -> Result<()> {
    let record = set::record(root)?;
    let anchors = Anchors::load(root);
    let sets = match &anchors {
        Ok(anchors) => set::kept(root, anchors)?,
        Err(_) => Vec::new(),
    };
    let revoked: Vec<_> = record.digests.iter().filter(|(_, s)| s.revoked).collect();
    if is_json {
        let entry = |(digest, set): &(Digest, Result<VerifiedSet>)| {
            let committed = record.committed.as_ref() == Some(digest);
            match set {
                Ok(set) => json!({ "digest": digest, "name": set.set.name,
                    "number": set.set.serial, "expires": set.set.expires, "committed": committed }),
                Err(error) => json!({ "digest": digest, "committed": committed,
                    "problem": format!("{error:#}") }),
            }
        };
        let status = json!({
            "v": 1,
            "enabled": anchors.is_ok(),
            "threshold": anchors.as_ref().ok().map(|a| a.keys.threshold),
            "floor": record.floor,
            "committed": record.committed,
            "sets": sets.iter().map(entry).collect::<Vec<_>>(),
            "revoked": revoked.iter().map(|(digest, s)| json!({
                "digest": digest, "number": s.number })).collect::<Vec<_>>(),
        });
        println!("{status}");
        return Ok(());
    }
    if let Err(error) = anchors {
        println!("{error:#}");
    }
    for (digest, set) in &sets {
        let committed = match record.committed.as_ref() == Some(digest) {
            true => ", committed",
            false => "",
        };
        match set {
            Ok(set) => println!("{}{committed}", line(set)),
            Err(error) => println!("{digest}: {error:#}"),
        }
    }
    for (digest, statement) in &revoked {
        println!("revoked by set {}: {digest}", statement.number);
    }
    println!("sets with a number below {} are refused", record.floor);
    Ok(())
}
