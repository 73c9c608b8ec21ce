//! Taking of a break-glass ticket, once.

use anyhow::{Context, Result};
use edge_common::identity::DeviceConfig;
use edge_common::{Root, known_time, time};
use edge_docker_policy::break_glass::BreakGlassTicket;
use edge_docker_policy::refusal::refuse;
use edge_signature::dsse::Role;

use super::effect::{self, Effect, current};
use super::record::{MAX_USED, Open, Record, Used};
use crate::trust;

/// Returns the name of this device, which a ticket has to state.
pub(crate) fn thing(root: &Root) -> Result<String> {
    let config = DeviceConfig::load(root);
    Ok(config
        .context("reading the name of this device")?
        .thing_name)
}

/// Verifies a signed ticket and puts it into effect. The ID is durably used up first;
/// then `before` records the ticket, and only after that it has an effect. Killed in
/// between, the ticket is lost, but never valid twice.
///
/// # Errors
/// The ticket is refused, or it could not be recorded.
pub(crate) fn take(
    root: &Root,
    envelope: &[u8],
    before: impl FnOnce(&Effect) -> Result<()>,
) -> Result<Effect> {
    let keys = trust::engineer_keys(root)?.ok_or_else(|| {
        refuse("ticket is refused: this device image has no engineer key, so tickets are off")
    })?;
    let opened = Role::Ticket.verify(&keys, envelope);
    let opened = opened.map_err(|why| refuse(format_args!("ticket is refused: {why}")))?;
    let ticket =
        BreakGlassTicket::parse(&opened.payload).map_err(|why| refuse(format_args!("{why:#}")))?;
    require_this_device(root, &ticket)?;
    let _lock = super::exclusive(root)?;
    let mut record = Record::load(root)?;
    if let Some(current) = current(root) {
        return Err(refuse(format_args!(
            "ticket is refused: the ticket {} of {} is in effect until {}: edge-docker ticket end \
             ends it",
            current.id, current.who, current.ends
        )));
    }
    use_up(root, &mut record, &ticket)?;
    // What an earlier ticket has left is undone with this one.
    let left = record.open.take().map(|open| open.apps);
    record.open = Some(Open {
        id: ticket.id.clone(),
        app: ticket.app.clone(),
        apps: left.unwrap_or_default(),
    });
    // The service that ends tickets must see the ticket even if this process is killed
    // right after the next line.
    effect::mark(root)?;
    record.write(root)?;
    let effect = Effect::of(root, &ticket, &opened.signer);
    before(&effect)?;
    effect.write(root)?;
    Ok(effect)
}

fn require_this_device(root: &Root, ticket: &BreakGlassTicket) -> Result<()> {
    let thing = thing(root).map_err(|why| refuse(format_args!("ticket is refused: {why:#}")))?;
    if ticket.thing == thing {
        return Ok(());
    }
    Err(refuse(format_args!(
        "ticket is refused: it is for {}, and this device is {thing}",
        ticket.thing
    )))
}

/// Adds the ticket to the used ones, and forgets those whose time has certainly passed:
/// the clock alone forgets none, because it can be set.
fn use_up(root: &Root, record: &mut Record, ticket: &BreakGlassTicket) -> Result<()> {
    record.floor = record.floor.max(known_time::newest(root));
    let now = record.floor.max(known_time::clock());
    if ticket.not_after < now {
        return Err(refuse(format_args!(
            "ticket is refused: it was to be taken before {}, and it is {}",
            time::rfc3339(ticket.not_after),
            time::rfc3339(now)
        )));
    }
    if record.used.iter().any(|used| used.id == ticket.id) {
        return Err(refuse(format_args!(
            "ticket is refused: {} was taken before; a ticket is valid once",
            ticket.id
        )));
    }
    record.used.retain(|used| used.not_after >= record.floor);
    if record.used.len() >= MAX_USED {
        return Err(refuse(format_args!(
            "ticket is refused: {MAX_USED} tickets are remembered; a connection to the cloud or a \
             newer device image lets old ones expire"
        )));
    }
    record.used.push(Used::new(&ticket.id, ticket.not_after));
    Ok(())
}
