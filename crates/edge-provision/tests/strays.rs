//! Directories and other strays in the place of the files of the identity.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

use std::fs;

use edge_sim::endpoint::Behaviour;
use edge_sim::testbed::{DeviceRoot, StrictEndpoint};

#[test]
fn strays_in_the_place_of_files_are_set_aside() {
    let cloud = StrictEndpoint::with(&Behaviour::default());
    let identity = "data/config/aws-iot";
    let directory = |device: &DeviceRoot, name: &str| {
        fs::create_dir_all(device.path(identity).join(name).join("x")).unwrap();
    };
    type Stray<'a> = &'a dyn Fn(&DeviceRoot);
    let strays: [(&str, Stray); 6] = [
        ("aws-iot.stray-1", &|d| {
            fs::create_dir_all(d.path("data/config")).unwrap();
            fs::write(d.path(identity), "a file").unwrap();
        }),
        ("aws-iot.stray-1", &|d| {
            fs::create_dir_all(d.path("data/config")).unwrap();
            std::os::unix::fs::symlink("nowhere", d.path(identity)).unwrap();
        }),
        ("aws-iot/private.key.stray-1", &|d| {
            directory(d, "private.key")
        }),
        ("aws-iot/pending.json.stray-1", &|d| {
            directory(d, "pending.json");
        }),
        ("aws-iot/config.json.stray-2", &|d| {
            directory(d, "config.json.stray-1");
            directory(d, "config.json");
        }),
        ("aws-iot/device.crt.stray-1", &|d| {
            directory(d, "device.crt")
        }),
    ];
    for (n, (aside, stray)) in strays.iter().enumerate() {
        let device = DeviceRoot::strict(&cloud, &format!("stray{n}"));
        stray(&device);
        let (code, output) = device.provision(&[]);
        assert_eq!(code, 0, "{aside}: {output}");
        assert_eq!(device.provision(&["status"]).0, 0, "{aside}");
        let aside = device.path("data/config").join(aside);
        assert!(aside.symlink_metadata().is_ok(), "{}", aside.display());
        let again = device.provision(&[]);
        assert_eq!(
            (again.0, again.1.contains("stray")),
            (0, false),
            "{}",
            again.1
        );
    }
}
