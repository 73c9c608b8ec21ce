//! edge-heartbeat against the local cloud.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

use edge_sim::testbed::{Cloud, DeviceRoot};

#[test]
fn a_report_updates_the_shadow_of_the_thing() {
    let cloud = Cloud::up();
    let device = DeviceRoot::allowed(&cloud, "s1");
    assert_eq!(device.heartbeat().0, 3);
    device.provisioned(&[]);
    for version in 1..=2 {
        assert_eq!(device.heartbeat().0, 0);
        let shadow = cloud.shadow("edge-ai-s1");
        assert_eq!(shadow["version"], version);
        assert!(shadow["state"]["reported"].is_object(), "{shadow}");
    }
    drop(cloud);
    let (code, output) = device.heartbeat();
    assert_eq!(code, 1, "{output}");
}
