//! `explain`: prints the signer of an image, its permissions, and the create request that
//! `run` would send to the engine.

use anyhow::{Context, Result};
use edge_common::Root;
use edge_docker_policy::cli::request::{self, Request};
use edge_docker_policy::identity::Identity;
use edge_docker_policy::refusal::refuse;
use edge_signature::Verified;

use crate::image::identify::{self, Image};
use crate::storage::{self, Demand};
use crate::{plan, trust};

/// Carries out `explain IMAGE`, and `explain run` or `explain create` with their
/// arguments.
pub(super) async fn run(root: &Root, args: &[&str]) -> Result<()> {
    let request = match args {
        [verb @ ("run" | "create"), rest @ ..] => request::parse(rest)
            .with_context(|| format!("explain {verb}"))
            .map(Some)?,
        [image] if !image.starts_with('-') => {
            let trust = trust::load(root)?;
            let image = identify::look_up(root, &trust, image).await?;
            return print_image(root, &image);
        }
        _ => None,
    };
    let Some(request) = request else {
        return Err(refuse("explain takes an image, or run with its arguments"));
    };
    let trust = trust::load(root)?;
    let image = identify::look_up(root, &trust, &request.image).await?;
    print_image(root, &image)?;
    print_plan(root, request, &image)
}

fn print_image(root: &Root, image: &Image) -> Result<()> {
    match &image.identity {
        Identity::Signed { .. } => {
            if let Some(verified) = &image.verified {
                print_signature(verified);
            }
        }
        Identity::Sandbox { app } => println!("signer    none: sandbox image of {app}"),
    }
    println!("image id  {}", image.id);
    let granted = trust::grants(root)?.granted(&image.identity);
    let directory = image.identity.directory();
    println!("may mount {directory} and what is below");
    let demand = Demand::of(&image.identity, image.verified.as_ref());
    let default = trust::load(root)?.storage;
    println!("storage   {}", storage::describe(root, default, &demand)?);
    println!("granted   {}", list(&granted.names));
    if !granted.root.is_empty() {
        let names = list(&granted.root);
        println!("ROOT      {names}: the app is root on this device");
    }
    if !granted.withheld.is_empty() {
        let names = list(&granted.withheld);
        println!("withheld  {names} (root on this device, which the signature does not accept)");
    }
    if !granted.unmapped.is_empty() {
        println!("unknown   {} (not on this board)", list(&granted.unmapped));
    }
    Ok(())
}

fn print_signature(verified: &Verified) {
    let annotations = &verified.annotations;
    println!("signer    key {}", verified.signer);
    println!("digest    {}", verified.digest);
    println!("app       {}", annotations.app);
    println!("version   {}", annotations.version);
    println!("release   {}", annotations.release_number);
    println!("signed    grants: {}", list(&annotations.grants));
}

fn list(names: &[String]) -> String {
    if names.is_empty() {
        return "nothing".into();
    }
    names.join(", ")
}

fn print_plan(root: &Root, request: Request, image: &Image) -> Result<()> {
    // The plan of `run`, but without cloning mounts: its new key appears only in this
    // output.
    let (plan, _) = plan::plan(root, request, image)?;
    println!("verdict   allowed");
    for (number, below) in plan.below.iter().enumerate() {
        let path = format!("{}/{below}", image.identity.directory());
        println!("clone {number}   {}", path.trim_end_matches('/'));
    }
    let text = serde_json::to_string_pretty(&plan.body).context("writing the create body")?;
    println!("{text}");
    Ok(())
}
