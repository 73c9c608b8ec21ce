//! `cargo bench -p edge-docker --bench overhead`: `run --rm` and `ps` beside docker
//! alone. Two devices take turns: one as the image has it, with the plugin, and
//! one whose engine has none and is asked by docker. A table; nothing fails for
//! being slow.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

#[path = "../tests/device/mod.rs"]
mod device;

mod clock;

use clock::{median, time};
use device::Device;
use edge_docker_policy::run_spec::RunSpec;

const TURNS: usize = 40;
const POLICY: &str = "/etc/edge-ai/container-config/policy.json";
const ANY: &[u8] = br#"{"sandbox":true,"run":"any","engineer":"debug"}"#;
const PRODUCTION: &[u8] = br#"{"sandbox":false,"run":"signed","engineer":"operate"}"#;

fn main() {
    // `cargo test --benches` only wants to know that this builds.
    if std::env::args().any(|word| word == "--test") {
        return;
    }
    let mut ours_device = Device::start();
    ours_device.start_engine();
    let ours = ours_device.image("small", 0).name;
    let mut plain = Device::start();
    plain.without_plugin();
    plain.start_engine();
    let theirs = plain.image("small", 0).id;

    println!("medians of {TURNS} turns         docker   edge-docker      added     limit");
    starts(&plain, &theirs, &ours_device);
    let mount = "/data/apps/small/state:/state";
    for (what, words, limit) in [
        ("run --rm", &["run", "--rm", "--network", "none"][..], 15.0),
        (
            "run --rm -v",
            &["run", "--rm", "--network", "none", "-v", mount],
            15.0,
        ),
        ("run --rm, own network", &["run", "--rm"], 15.0),
    ] {
        let with = |program, image| [&[program], words, &[image, "ls", "/"]].concat();
        row(
            what,
            limit,
            || plain.good(&with("docker", &theirs)),
            || ours_device.good(&with("edge-docker", &ours)),
        );
    }
    let ps = |program| [program, "ps"];
    row(
        "ps",
        5.0,
        || plain.good(&ps("docker")),
        || ours_device.good(&ps("edge-docker")),
    );
    let ps = |program| [program, "ps", "-a", "--format", "{{.Names}}"];
    row(
        "ps -a --format",
        5.0,
        || plain.good(&ps("docker")),
        || ours_device.good(&ps("edge-docker")),
    );
    println!(
        "{:<23} {:>9} kB {:>10} kB",
        "memory while attached",
        resident(&plain, "docker", &theirs),
        resident(&ours_device, "edge-docker", &ours)
    );
}

/// Start of an existing container, signed with its run specification: with the judgement of
/// the container, of its image and release number, and the record in the ledger.
fn starts(plain: &Device, image: &str, signed: &Device) {
    let mut spec = RunSpec::new("lamp");
    spec.command = vec!["sleep".into(), "1000".into()];
    spec.network_mode = "none".into();
    spec.stop_grace_period = Some(0);
    let manifest = signed.image("lamp", 8).manifest;
    signed.sign_spec(&manifest, "v1", 1, &spec);
    signed.write(POLICY, PRODUCTION);
    signed.good(&["edge-docker", "run", "lamp-v1"]);
    let made = "docker run -d --name lamp --network none";
    let made: Vec<_> = made.split(' ').chain([image, "sleep", "1000"]).collect();
    plain.good(&made);
    let (mut theirs, mut ours) = (Vec::new(), Vec::new());
    for turn in 0..TURNS {
        for second in [false, true] {
            let (device, program, times) = match second == (turn % 2 == 0) {
                true => (plain, "docker", &mut theirs),
                false => (signed, "edge-docker", &mut ours),
            };
            device.good(&["docker", "kill", "lamp"]);
            device.good(&["docker", "wait", "lamp"]);
            times.push(time(|| drop(device.good(&[program, "start", "lamp"]))));
        }
    }
    print("start, signed", 0.0, median(theirs), median(ours));
    plain.good(&["docker", "rm", "-f", "lamp"]);
    signed.good(&["edge-docker", "rm", "-f", "lamp"]);
    signed.write(POLICY, ANY);
}

/// Memory of what stays until an attached container ends, in kB.
fn resident(device: &Device, program: &str, image: &str) -> String {
    let script = format!(
        "{program} run --rm --network none {image} sleep 1000 & run=$!
        until [ \"$(docker ps -q | wc -l)\" = 1 ]; do sleep 0.1; done
        grep VmRSS /proc/$run/status; docker kill $(docker ps -q) >/dev/null; wait $run"
    );
    let output = device.run(&["sh", "-c", &script]).stdout;
    let output = String::from_utf8(output).unwrap();
    output.split_whitespace().nth(1).unwrap().into()
}

/// Both in turns, the order exchanged each time.
fn row(what: &str, limit: f64, docker: impl Fn() -> String, ours_device: impl Fn() -> String) {
    docker();
    ours_device();
    let (mut theirs, mut ours) = (Vec::new(), Vec::new());
    for turn in 0..TURNS {
        for second in [false, true] {
            if second == (turn % 2 == 0) {
                theirs.push(time(|| drop(docker())));
            } else {
                ours.push(time(|| drop(ours_device())));
            }
        }
    }
    print(what, limit, median(theirs), median(ours));
}

fn print(what: &str, limit: f64, theirs: f64, ours: f64) {
    let missed = if ours - theirs > limit {
        "   missed"
    } else {
        ""
    };
    println!(
        "{what:<23} {theirs:>9.1} ms {ours:>10.1} ms {:>7.1} ms {limit:>6.0} ms{missed}",
        ours - theirs
    );
}
