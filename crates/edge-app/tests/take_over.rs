//! A sandbox app in the place of a signed one, and the way back.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod project;

use edge_sim::testbed::Cloud;
use project::Real;

#[test]
fn the_signed_app_is_kept() {
    let cloud = Cloud::up();
    let real = Real::start(&cloud);
    real.push("v1", "trap exit TERM; while :; do sleep 1 & wait $!; done");
    let deploy = ["deploy", "hello", "jetson", "--version", "v1"];
    real.project.succeeds(&deploy);
    assert_eq!(real.version(), "v1");
    let from = format!("FROM {}:hello-v1\n", real.project.registry);
    real.project
        .put("hello/Dockerfile", &format!("{from}ENV A=b\n"));
    let sandbox = ["sandbox", "hello", "jetson"];
    let (code, _, printed) = real.project.run(&sandbox);
    assert_eq!(code, 0, "{printed}");
    assert!(
        printed.contains("hello v1, which is signed, is stopped on jetson"),
        "{printed}"
    );
    assert!(
        printed.contains("edge-app rollback hello jetson"),
        "{printed}"
    );
    // Another one takes the place of the first, and the signed app stays where it is.
    real.project
        .put("hello/Dockerfile", &format!("{from}ENV A=c\n"));
    let (code, _, printed) = real.project.run(&sandbox);
    assert!(code == 0 && !printed.contains("signed"), "{printed}");
    real.project.succeeds(&["rollback", "hello", "jetson"]);
    assert_eq!(real.version(), "v1");
}
