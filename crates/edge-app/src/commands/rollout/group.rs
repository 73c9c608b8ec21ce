//! `group sync`: makes a thing group of AWS equal to a group of `edge-app.yaml`.

use std::collections::BTreeSet;

use anyhow::Result;
use edge_common::exit::Failure;
use serde_json::json;

use crate::cli::group::GroupCommand;
use crate::commands::consent;
use crate::exit_code::CONFIGURATION;
use crate::output::table;
use crate::project::config::Project;

use super::fleet::Fleet;

/// Runs a subcommand of `group`.
pub(crate) async fn run(project: &Project, command: GroupCommand) -> Result<()> {
    match command {
        GroupCommand::Sync { group, consent } => {
            let wanted = things(project, &group.group)?;
            let fleet = Fleet::new(&group.group).await?;
            sync(&fleet, &wanted, consent.yes, group.output.json).await
        }
    }
}

/// Returns the names of the things of a group.
fn things(project: &Project, name: &str) -> Result<BTreeSet<String>> {
    let configuration = |why: String| Failure::error(CONFIGURATION, why);
    let devices = project
        .group(name, CONFIGURATION)?
        .map_or(&[][..], |group| group.devices());
    // An empty group would take every device out of the thing group.
    if devices.is_empty() {
        let why = format!("group {name} names no devices: AWS's groups have no patterns");
        return Err(configuration(why));
    }
    let thing = |device: &String| {
        let settings = project.config.devices.get(device).and_then(Option::as_ref);
        let thing = settings.and_then(|settings| settings.thing.clone());
        thing.ok_or_else(|| {
            configuration(format!(
                "device {device} has no thing: write devices: {{{device}: {{thing: \
                 edge-ai-SERIAL}}}}"
            ))
        })
    };
    devices.iter().map(thing).collect()
}

/// Shows what joins and leaves, asks, and changes the thing group.
async fn sync(fleet: &Fleet, wanted: &BTreeSet<String>, yes: bool, json: bool) -> Result<()> {
    let found = fleet.group().await?;
    let current: BTreeSet<String> = match &found {
        Some(_) => fleet.things().await?.into_iter().collect(),
        None => BTreeSet::new(),
    };
    let joins: Vec<_> = wanted.difference(&current).collect();
    let leaves: Vec<_> = current.difference(wanted).collect();
    if json {
        let name = fleet.thing_group();
        table::print_json(&json!({ "thing_group": name, "join": joins, "leave": leaves }))?;
    } else {
        let line = |text: &str, thing: &&String| println!("{text} {thing}");
        joins.iter().for_each(|thing| line("+", thing));
        leaves.iter().for_each(|thing| line("-", thing));
    }
    if found.is_some() && joins.is_empty() && leaves.is_empty() {
        if !json {
            println!("{} is as in edge-app.yaml", fleet.thing_group());
        }
        return Ok(());
    }
    consent::confirm(&format!("Change {}?", fleet.thing_group()), yes)?;
    if found.is_none() {
        fleet.create_group().await?;
    }
    // Repeated after an interruption: AWS takes what is so already.
    for (action, things) in [("add", joins), ("remove", leaves)] {
        for thing in things {
            fleet.move_thing(action, thing).await?;
        }
    }
    Ok(())
}
