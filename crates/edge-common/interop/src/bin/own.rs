//! The session of this repository.

use anyhow::Result;
use edge_common::Root;
use edge_common::mqtt::{CaBundle, Options, Session};
use mqtt_clients::{Broker, LIMIT, TOPIC, payload, run};

fn main() -> Result<()> {
    run(client)
}

fn client(broker: &Broker, acknowledged: &dyn Fn()) -> Result<()> {
    let ca_bundle = CaBundle::load(&Root::at(&broker.path("root")))?;
    let session = Session::connect(&Options {
        endpoint: &broker.host,
        port: broker.port,
        proxy: None,
        client_id: "own",
        certificate: broker.path("claim.crt"),
        key: broker.path("claim.key"),
        ca_bundle: &ca_bundle,
        timeout: LIMIT,
        will: None,
    })?;
    session.publish(TOPIC, payload())?;
    acknowledged();
    session.close();
    Ok(())
}
