//! The page of operations names, for each symptom, what works at production's level.
#![allow(clippy::disallowed_methods, clippy::unwrap_used, missing_docs)]

use edge_common::level::{Level, RunMode};
use edge_docker_policy::cli::commands::Command;
use edge_docker_policy::cli::levels;

const PAGE: &str = include_str!("../../../docs/operations.md");

/// Returns the cells of a row; a bar that is escaped belongs to a cell.
fn cells(row: &str) -> Vec<String> {
    let row = row.trim_matches('|').replace("\\|", "\u{1}");
    row.split('|')
        .map(|cell| cell.trim().replace('\u{1}', "|"))
        .collect()
}

#[test]
fn commands_of_the_production_column_work_at_its_level() {
    let (mut columns, mut commands, mut rows) = (0, 0, 0);
    for line in PAGE.lines() {
        if !line.starts_with('|') {
            columns = 0;
            continue;
        }
        let cells = cells(line);
        if columns == 0 {
            columns = cells.len();
            assert!(cells.last().unwrap().starts_with("Production"), "{line}");
            continue;
        }
        assert_eq!(cells.len(), columns, "{line}");
        let production = cells.last().unwrap();
        assert!(!production.is_empty(), "{line}");
        rows += 1;
        for code in production.split('`').skip(1).step_by(2) {
            let args: Vec<_> = code.split(' ').collect();
            let Some(args) = args.strip_prefix(&["edge-docker"]) else {
                continue;
            };
            let (command, rest) = Command::find(args).unwrap();
            levels::require(command, rest, Level::Operate, RunMode::Signed).unwrap();
            command.entry().parse(rest).unwrap();
            commands += 1;
        }
    }
    assert!(
        rows > 40 && commands > 20,
        "{rows} rows, {commands} commands"
    );
    for symptom in ["`deploy` refused", "no answer on its port", "engine down"] {
        assert!(PAGE.contains(symptom), "{symptom}");
    }
}
