//! Commands of the tables in docs/operations.md, at the level of production.

use std::collections::BTreeSet;

use crate::device::output_text;
use crate::{device, level};

const PAGE: &str = include_str!("../../../../docs/operations.md");

/// Returns the commands of edge-docker in the tables, each once.
fn commands() -> BTreeSet<String> {
    let rows = PAGE.lines().filter(|line| line.starts_with('|'));
    let spans = rows.flat_map(|row| row.split('`').skip(1).step_by(2));
    let parts = spans.flat_map(|span| span.split("; "));
    let ours = parts.filter_map(|part| part.strip_prefix("edge-docker "));
    ours.map(String::from).collect()
}

#[test]
fn commands_of_the_page_work() {
    let device = device();
    level(&device, "operate");
    let mut count = 0;
    for command in commands() {
        // A version of the registry, and a record of the shadow.
        let needs_cloud = ["pull", "explain", "ledger verify --head"];
        // Files go into an app at another level, see `into.rs`.
        let is_into = command.starts_with("cp FILE");
        if is_into || needs_cloud.iter().any(|c| command.starts_with(c)) {
            continue;
        }
        let line = command
            .replace("APP:PATH", "lamp:/data")
            .replace("APP", "lamp")
            .replace("NAME", "lamp");
        let output = device.run(&["sh", "-c", &format!("cd /tmp && edge-docker {line}")]);
        let printed = output_text(&output);
        assert!(output.status.success(), "{line}: {printed}");
        count += 1;
    }
    assert!(count > 12, "{count}");
    assert_eq!(device.running(), ["lamp"]);
}
