//! A small fleet that is switched on at once; `cargo xtask bench fleet` runs a large one.
#![allow(clippy::unwrap_used, missing_docs)]

use edge_sim::benchmarks::fleet;
use edge_sim::testbed::example;

#[test]
fn a_fleet_gets_its_identities_within_the_quotas() {
    let fleet = fleet::run(&example("provision_at_root"), 40, 5, 5).unwrap();
    println!("{fleet}");
    assert_eq!((fleet.provisioned, fleet.keys), (40, 40), "{fleet}");
    let (registers, good) = fleet.count("register");
    assert_eq!(good, 40, "{fleet}");
    // A throttled device waits, on its connection.
    assert!(registers < 40 * 5, "{fleet}");
    assert!(fleet.count("connect").0 <= 40 * 3, "{fleet}");
}
