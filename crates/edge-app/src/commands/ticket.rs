//! `ticket`: makes, signs and delivers break-glass tickets.

use std::path::Path;

use anyhow::{Context, Result};
use edge_common::contract::limit::BREAK_GLASS_BYTES;
use edge_common::exit::Failure;
use edge_common::{file, hex, known_time, log};
use edge_docker_policy::break_glass::{BreakGlassTicket, VERSION};
use edge_signature::dsse::Role;
use serde_json::Value;

use crate::cli::ticket::{TicketCommand, TicketOptions};
use crate::device::ssh::{Device, edge_docker};
use crate::exit_code::SIGNATURE;
use crate::project::config::Project;
use crate::project::signing::Signer;

/// Length of a ticket's ID in bytes.
const ID_BYTES: usize = 16;

/// Makes and signs a ticket, and hands it to the device, or writes it to `--out`.
pub(crate) async fn give(project: &Project, device: &str, options: &TicketOptions) -> Result<()> {
    let signer = Signer::engineer(project, options.key.as_deref()).await?;
    let device = Device::new(project, device)?;
    let thing = match &options.thing {
        Some(thing) => thing.clone(),
        None => thing(&device).await?,
    };
    let signed = sign_bytes(&signer, &ticket(options, thing)?.to_bytes()?).await?;
    match &options.out {
        Some(path) => write(path, &signed),
        None => deliver(&device, &signed).await,
    }
}

/// Runs a subcommand of `ticket`.
pub(crate) async fn run(project: &Project, command: TicketCommand) -> Result<()> {
    match command {
        TicketCommand::Make { options } => {
            let needed = |what| Failure::error(2, format_args!("ticket make needs --{what}"));
            let thing = options.thing.clone().ok_or_else(|| needed("thing"))?;
            let out = options.out.clone().ok_or_else(|| needed("out"))?;
            write(&out, &ticket(&options, thing)?.to_bytes()?)
        }
        TicketCommand::Sign { file, out, key } => {
            let bytes = file::read(&file, BREAK_GLASS_BYTES)?;
            // What is signed has been understood.
            let ticket = BreakGlassTicket::parse(bytes.trim_ascii())?;
            let signer = Signer::engineer(project, key.as_deref()).await?;
            write(&out, &sign_bytes(&signer, &ticket.to_bytes()?).await?)
        }
        TicketCommand::Send { device, file } => {
            let signed = file::read(&file, 4 * BREAK_GLASS_BYTES)?;
            deliver(&Device::new(project, &device)?, &signed).await
        }
        TicketCommand::Status { device } => {
            let device = Device::new(project, &device)?;
            print!("{}", device.run(&["ticket", "status"]).await?);
            Ok(())
        }
        TicketCommand::End { device } => {
            let device = Device::new(project, &device)?;
            print!("{}", device.run(&["ticket", "end"]).await?);
            Ok(())
        }
    }
}

fn ticket(options: &TicketOptions, thing: String) -> Result<BreakGlassTicket> {
    let mut id = [0; ID_BYTES];
    openssl::rand::rand_bytes(&mut id).context("making the ID of the ticket")?;
    let who = options.who.clone().or_else(|| std::env::var("USER").ok());
    let who = who.ok_or_else(|| Failure::error(2, "give --who NAME, the person who asks"))?;
    Ok(BreakGlassTicket {
        app: options.app.clone(),
        id: hex::encode(id),
        level: options.level.into(),
        minutes: options.minutes,
        not_after: known_time::clock() + u64::from(options.within_hours) * 3600,
        reason: options.reason.clone(),
        thing,
        v: VERSION,
        who,
    })
}

async fn sign_bytes(signer: &Signer, payload: &[u8]) -> Result<Vec<u8>> {
    let role = Role::Ticket;
    let signature = signer.sign(&role.to_sign(payload)).await?;
    let signed = role.seal(payload, &signature);
    // Verified before it is handed over, as a new signature of an image is.
    role.verify(&signer.keys().await?, &signed)
        .map_err(|why| Failure::error(SIGNATURE, format_args!("the new ticket: {why}")))?;
    Ok(signed)
}

/// Returns the thing name of a device.
async fn thing(device: &Device) -> Result<String> {
    let status = device.run(&["ticket", "status", "--json"]).await?;
    let status: Value = serde_json::from_str(&status).context("reading the device's status")?;
    if status["enabled"] == false {
        log::warn("this device image has no engineer key: it refuses every ticket");
    }
    let thing = status["thing"].as_str().map(String::from);
    thing.context("the device has no thing name: is it provisioned? otherwise give --thing NAME")
}

async fn deliver(device: &Device, signed: &[u8]) -> Result<()> {
    let text = std::str::from_utf8(signed).context("the ticket is not text")?;
    let line = edge_docker(&["ticket"]);
    print!("{}", device.run_with(&line, Some(text), |_| ()).await?);
    Ok(())
}

fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    // The parent of a bare file name is the empty path.
    file::write(&Path::new(".").join(path), bytes, 0o644)?;
    println!("{}", path.display());
    Ok(())
}
