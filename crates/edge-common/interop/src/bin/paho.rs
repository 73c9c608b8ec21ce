//! The Paho client, as the tools of the device used it until decision 0041.

use std::time::Duration;

use anyhow::Result;
use mqtt_clients::{Broker, KEEP_ALIVE, LIMIT, TOPIC, payload, run};
use paho_mqtt as paho;

fn main() -> Result<()> {
    run(client)
}

fn client(broker: &Broker, acknowledged: &dyn Fn()) -> Result<()> {
    let create = paho::CreateOptionsBuilder::new()
        .server_uri(format!("ssl://{}:{}", broker.host, broker.port))
        .client_id("paho")
        .persistence(None)
        .finalize();
    let mut client = paho::Client::new(create)?;
    client.set_timeout(LIMIT);
    let mut tls = paho::SslOptionsBuilder::new();
    tls.trust_store(broker.path("ca.pem"))?;
    tls.key_store(broker.path("claim.crt"))?;
    tls.private_key(broker.path("claim.key"))?;
    tls.verify(true)
        .enable_server_cert_auth(true)
        .disable_default_trust_store(true);
    let mut connect = paho::ConnectOptionsBuilder::new_v3();
    connect
        .ssl_options(tls.finalize())
        .keep_alive_interval(Duration::from_secs(KEEP_ALIVE.into()))
        .connect_timeout(LIMIT)
        .clean_session(true);
    client.connect(connect.finalize())?;
    client.publish(paho::Message::new(TOPIC, payload(), 1))?;
    acknowledged();
    client.disconnect(None)?;
    Ok(())
}
