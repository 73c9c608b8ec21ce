//! The rumqttc client with OpenSSL, which the tools of the device link anyway.

use std::time::Duration;

use anyhow::{Result, bail};
use mqtt_clients::{Broker, KEEP_ALIVE, LIMIT, TOPIC, payload, run};
use native_tls::{Certificate, Identity, TlsConnector};
use rumqttc::{
    Client, Event, Incoming, MqttOptions, NetworkOptions, Outgoing, QoS, TlsConfiguration,
    Transport,
};

fn main() -> Result<()> {
    run(client)
}

fn client(broker: &Broker, acknowledged: &dyn Fn()) -> Result<()> {
    let identity = Identity::from_pkcs8(&broker.read("claim.crt")?, &broker.read("claim.key")?)?;
    let connector = TlsConnector::builder()
        .disable_built_in_roots(true)
        .add_root_certificate(Certificate::from_pem(&broker.read("ca.pem")?)?)
        .identity(identity)
        .build()?;
    let mut options = MqttOptions::new("rumqttc", &broker.host, broker.port);
    options.set_keep_alive(Duration::from_secs(KEEP_ALIVE.into()));
    let tls = TlsConfiguration::NativeConnector(connector);
    options.set_transport(Transport::tls_with_config(tls));
    let (client, mut connection) = Client::new(options, 10);
    let mut network = NetworkOptions::new();
    network.set_connection_timeout(LIMIT.as_secs());
    network.set_tcp_nodelay(true);
    connection.eventloop.set_network_options(network);
    client.publish(TOPIC, QoS::AtLeastOnce, false, payload())?;
    // An error is final: the caller decides when to connect again.
    for event in connection.iter() {
        match event? {
            Event::Incoming(Incoming::PubAck(_)) => {
                acknowledged();
                client.disconnect()?;
            }
            Event::Outgoing(Outgoing::Disconnect) => return Ok(()),
            _ => {}
        }
    }
    bail!("the event loop ended")
}
