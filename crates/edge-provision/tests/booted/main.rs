//! Bad days of a device with the real units: systemd boots everything that the image has,
//! in a container whose network the test makes. After each boot the device reports, the
//! login user gets in by SSH, and the apps run. Needs root.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod testbed;

use edge_sim::cloud;
use serde_json::{Value, json};
use testbed::{Network, SERIAL, Testbed};

/// docker0 has the only IPv4 address of the device. The first addresses of the endpoint
/// cannot be reached (IPv4) or are dead (IPv6).
#[test]
fn a_device_with_ipv6_only() {
    let testbed = Testbed::start(&Network {
        device: "2001:db8::2",
        world: "2001:db8::1",
        prefix: 64,
        dead: "2001:db8::3",
        names: "A=192.0.2.1 AAAA=2001:db8::3,2001:db8::1",
    });
    let addresses = testbed.good("ip -4 -o address show scope global");
    assert!(!addresses.contains("up0"), "{addresses}");
    assert!(addresses.contains("docker0"), "{addresses}");
    lives(testbed);
}

/// Neither the first address of the endpoint answers, nor any question for IPv6.
#[test]
fn a_device_whose_endpoint_has_a_dead_first_address() {
    lives(Testbed::start(&Network {
        device: "10.9.0.2",
        world: "10.9.0.1",
        prefix: 24,
        dead: "10.9.0.9",
        names: "A=10.9.0.9,10.9.0.1",
    }));
}

/// Apps of the first boot run again after a power loss, and the device reports.
fn lives(mut testbed: Testbed) {
    testbed.reports();
    testbed.engineer_gets_in();
    testbed.start_apps();
    testbed.power_loss();
    testbed.reports();
    testbed.engineer_gets_in();
    testbed.apps_run();
    testbed.no_failed_units();
}

/// The cloud refuses the certificate: everything but the reports goes on, and a window
/// that an operator opens brings the device back without anybody at it.
#[test]
fn a_device_with_a_revoked_certificate() {
    let mut testbed = Testbed::start(&Network {
        device: "10.9.0.2",
        world: "10.9.0.1",
        prefix: 24,
        dead: "10.9.0.9",
        names: "A=10.9.0.1 AAAA=2001:db8::1",
    });
    testbed.reports();
    testbed.start_apps();
    cloud::deactivate(&testbed.cloud(), SERIAL).unwrap();
    testbed.power_loss();
    let connection = "/run/edge-ai/heartbeat/connection.json";
    let since = testbed.until("the refusal is noted", |testbed| {
        let text = testbed.run(&format!("cat {connection}")).stdout;
        serde_json::from_slice::<Value>(&text).ok()?["refused_since"].as_u64()
    });
    testbed.engineer_gets_in();
    testbed.apps_run();
    assert!(!testbed.reported(), "a report with a revoked certificate");
    testbed.good("systemctl is-active edge-heartbeat.service edge-provision-refused.timer");
    // Two days later: the timer has started the service in each hour, in vain.
    let note = json!({ "refused_since": since - 2 * 86_400 }).to_string();
    testbed.good(&format!("echo '{note}' >{connection}"));
    let asked = testbed.run("systemctl start edge-provision-refused.service");
    assert!(!asked.status.success(), "an identity without a window");
    cloud::allow(&testbed.cloud(), SERIAL, true).unwrap();
    testbed.good(
        "sed -i -E 's/\"asked\":[0-9]+/\"asked\":1/' /data/config/aws-iot-refused.json && \
         systemctl start edge-provision-refused.service",
    );
    testbed.reports();
    testbed.apps_run();
}
