//! Campaigns: the tests of the daily suite with more cases and more time.

pub(crate) mod power_loss;

use anyhow::{Result, ensure};
use clap::Subcommand;

use crate::shell;

/// Campaigns of `cargo xtask campaign`, each of which runs every case of a test.
#[derive(Subcommand)]
pub(crate) enum Campaign {
    /// Kill each oneshot program at every system call it makes; print the count
    Kill,
    /// Run the fault matrix of provisioning, with the network 40 s late
    Faults,
    /// Cut the power of the test VM during its first boots and its provisioning: every
    /// following boot must end provisioned, without loss of data
    #[command(alias = "cuts")]
    PowerLoss {
        /// Number of power losses
        #[arg(long, default_value_t = 25)]
        count: u32,
        /// Seed of an earlier run, whose moments are repeated
        #[arg(long)]
        seed: Option<u64>,
    },
    /// Run edge-heartbeat through broker restarts, network outages and renewals
    Heartbeat {
        /// Number of reports
        #[arg(long, default_value_t = 2000)]
        intervals: u32,
    },
    /// Kill the engine after each of its answers to a deployment: one version must run
    Deploy,
    /// Kill edge-partition and its helpers at every system call
    Partition,
    /// Damage file systems in 12 kinds, at several places and of several sizes:
    /// edge-partition must keep as many files as the best way of plain e2fsck
    Disk {
        /// Number of cases of an earlier run that passed, which are skipped
        #[arg(long, default_value_t = 0)]
        resume: u32,
    },
    /// Create containers with generated options: the boot audit must accept all of them
    Stored {
        /// Number of containers
        #[arg(long, default_value_t = 5000)]
        count: u32,
        /// Number of containers of an earlier run that passed, which are skipped
        #[arg(long, default_value_t = 0)]
        resume: u32,
    },
    /// Edit the disk of a device that is off: after the next boot nothing of an edit may
    /// run, and what does not run must be reported
    StoredEdits {
        /// Number of edits
        #[arg(long, default_value_t = 5000)]
        count: u32,
        /// Number of edits of an earlier run that passed, which are skipped
        #[arg(long, default_value_t = 0)]
        resume: u32,
    },
    /// Kill edge-fleet at every system call while it takes, refuses, pulls, replaces,
    /// restores and commits
    FleetKill,
    /// Play random schedules of jobs, power losses and hands on the loop of edge-fleet
    Fleet {
        /// Number of schedules
        #[arg(long, default_value_t = 100_000)]
        count: u32,
        /// Number of schedules of an earlier run that passed, which are skipped
        #[arg(long, default_value_t = 0)]
        resume: u32,
    },
}

/// Runs the tests of a campaign and shows all their output; the first failed test ends
/// the campaign with an error.
pub(crate) fn run(campaign: &Campaign) -> Result<bool> {
    let every = ("EDGE_EVERY", "1");
    match campaign {
        Campaign::Kill => {
            test("edge-provision", "kill_", every)?;
            test("edge-vpn", "kill_", every)?;
            test("edge-os", "kill_", every)?;
            test("edge-heartbeat", "survives_a_kill", every)?;
        }
        Campaign::Faults => test("edge-provision", "every_fault", every)?,
        Campaign::PowerLoss { count, seed } => power_loss::run(*count, *seed)?,
        Campaign::Heartbeat { intervals } => {
            let intervals = intervals.to_string();
            test(
                "edge-heartbeat",
                "a_week_in_minutes",
                ("EDGE_INTERVALS", &intervals),
            )?;
        }
        Campaign::Deploy => test("edge-docker", "killed_after_any_request", every)?,
        Campaign::Partition => test("edge-partition", "kill_", every)?,
        Campaign::Disk { resume } => disk(*resume)?,
        Campaign::Stored { count, resume } => shared(*count, *resume, &ACCEPTED)?,
        Campaign::StoredEdits { count, resume } => shared(*count, *resume, &EDITED)?,
        Campaign::FleetKill => test("edge-fleet", "survives_a_kill", every)?,
        Campaign::Fleet { count, resume } => shared(*count, *resume, &SCHEDULES)?,
    }
    Ok(true)
}

/// Runs all cases of damaged file systems. The test prints the number of each case.
fn disk(resume: u32) -> Result<()> {
    let cases = format!("{resume}+1");
    test("edge-partition", "damage_costs", ("EDGE_DAMAGES", &cases))
}

/// Test of a campaign whose cases are run in parts.
struct Shared {
    /// Crate of the test.
    package: &'static str,
    /// Name of the test.
    test: &'static str,
    /// Environment variable with the range of cases.
    variable: &'static str,
    /// Cases of one part.
    size: u32,
    /// Noun for the cases.
    cases: &'static str,
}

/// Containers that the boot audit must accept: below the limit of a device.
const ACCEPTED: Shared = Shared {
    package: "edge-docker",
    test: "what_run_accepts",
    variable: "EDGE_CONTAINERS",
    size: 100,
    cases: "containers",
};
/// Edits of the disk: after this many a run is resumed.
const EDITED: Shared = Shared {
    package: "edge-docker",
    test: "nothing_of_an_edit",
    variable: "EDGE_EDITS",
    size: 245,
    cases: "edits",
};

/// Schedules of the loop of edge-fleet.
const SCHEDULES: Shared = Shared {
    package: "edge-fleet",
    test: "random_schedules",
    variable: "EDGE_SCHEDULES",
    size: 2000,
    cases: "schedules",
};

/// Runs the cases from `resume` to `count`, a part after the other.
fn shared(count: u32, resume: u32, campaign: &Shared) -> Result<()> {
    let mut first = resume;
    while first < count {
        let size = campaign.size.min(count - first);
        let range = format!("{first}+{size}");
        let (cases, next) = (campaign.cases, first + size);
        let tested = test(campaign.package, campaign.test, (campaign.variable, &range));
        if tested.is_err() {
            println!(
                "{cases} {first} to {next} failed; repeat them with --resume {first}, or continue \
                 after them with --resume {next}"
            );
        }
        tested?;
        first = next;
        println!("{first} {cases} passed; continue with --resume {first}");
    }
    Ok(())
}

/// Crates whose programs and examples the tests of every campaign run.
const PROGRAMS: [&str; 7] = [
    "edge-docker",
    "edge-fleet",
    "edge-heartbeat",
    "edge-os",
    "edge-provision",
    "edge-sim",
    "edge-vpn",
];

/// Builds what the tests run. `cargo test` builds the programs of the tested crate alone,
/// and its examples as tests if it is asked for them.
fn build() -> Result<()> {
    let mut build = shell::cargo();
    build.args(["build", "--bins", "--examples"]);
    for package in PROGRAMS {
        build.args(["--package", package]);
    }
    shell::run(&mut build)
}

/// Runs the tests of a crate whose names contain `filter`, with an environment variable
/// that selects all cases. A filter without a matching test is an error.
fn test(package: &str, filter: &str, variable: (&str, &str)) -> Result<()> {
    build()?;
    let tests = [
        "--package",
        package,
        "--lib",
        "--bins",
        "--tests",
        filter,
        "--",
    ];
    let mut list = shell::cargo();
    let names = shell::read(list.args(["test", "--quiet"]).args(tests).arg("--list"))?;
    // cargo succeeds even if no test matches the filter, so a renamed test would go
    // unnoticed.
    ensure!(names.contains(": test"), "{package} has no test {filter}");
    let mut run = shell::cargo();
    run.arg("test").args(tests);
    run.args(["--nocapture", "--test-threads=1"]);
    shell::run(run.env(variable.0, variable.1))
}
