//! The UID of the device's login user, which no container takes, in a real engine. Needs
//! root.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

mod device;

use device::{Device, output_text, until};

#[test]
fn no_container_takes_the_login_user() {
    let mut device = Device::start();
    device.start_engine();
    device.image("lamp", 10);
    for (tag, user) in [("a", "61000"), ("b", "0061000:5"), ("c", "7:+61000")] {
        device.build_lamp(tag, user, &[]);
        let image = format!("sandbox/lamp:{tag}");
        for command in ["run", "create"] {
            let output = device.feed(&["edge-docker", command, &image], b"");
            assert_eq!(output.status.code(), Some(125), "{user}");
            let printed = output_text(&output);
            assert!(
                printed.contains("USER") && printed.contains("`edge`"),
                "{printed}"
            );
        }
        // The image itself is not the problem.
        let own = [
            "edge-docker",
            "run",
            "--rm",
            "-u",
            "1000",
            &image,
            "ls",
            "/bin/sh",
        ];
        assert_eq!(device.good(&own), "/bin/sh");
    }

    // What the login user could do with the ID of so many images.
    let run = ["edge-docker", "run", "-d", "--name=app", "-u", "1000:1000"];
    let variable = ["-e", "SECRET=of-the-app", "sandbox/lamp:base"];
    device.good(&[&run[..], &variable, &["sleep", "1000"]].concat());
    let format = "--format={{.State.Pid}}";
    let pid = device.good(&["edge-docker", "inspect", format, "app"]);
    let environment = format!("/proc/{}/environ", pid.trim());
    // Until then it is the engine's program, which nobody may read.
    until("the app", || {
        let line = device.good(&["cat", &format!("/proc/{}/cmdline", pid.trim())]);
        line.starts_with("sleep").then_some(())
    });
    let read = |id: u32| {
        let (user, group) = (format!("--reuid={id}"), format!("--regid={id}"));
        let output = device.feed(
            &[
                "setpriv",
                &user,
                &group,
                "--clear-groups",
                "cat",
                &environment,
            ],
            b"",
        );
        output_text(&output).contains("of-the-app")
    };
    assert!(read(1000));
    assert!(!read(edge_common::contract::login::ID));
}
