//! Every row of what a start means: journal, variables and root, and the reason with its
//! evidence.
#![allow(clippy::unwrap_used, missing_docs)]

use edge_os::backend::{KEPT, NORMAL, UNBOOTABLE, Value};
use edge_os::decide::{Decision, Observed, decide};
use edge_os::gate::Before;
use edge_os::journal::{Committed, Journal, Phase, Recorded, Release, Update};
use edge_os::reason::{Cause, Reason};
use edge_os::slot::Slot::{self, A, B};
use edge_os::variables::{Stage, Trial, Variables};
use serde_json::json;

fn release(number: u64) -> Release {
    Release {
        digest: format!("sha256:{number}"),
        number,
        version: number.to_string(),
    }
}

/// Journal of an update from A to B that was armed in boot 1.
fn journal(phase: Phase) -> Journal {
    let mut journal: Journal = serde_json::from_value(json!({"v": 1, "phase": phase})).unwrap();
    journal.committed = Some(Committed {
        slot: A,
        release: release(1),
    });
    journal.update = Some(Update {
        target: B,
        release: release(2),
        boot_id: "1".into(),
        before: Before::default(),
        verdict: None,
        rest: serde_json::Map::default(),
    });
    journal
}

fn status(number: u32) -> Option<Value> {
    Some(Value {
        attributes: KEPT,
        data: number.to_le_bytes().to_vec(),
    })
}

/// A device that runs a slot in a boot after the request.
fn runs(slot: Slot) -> Observed {
    Observed {
        root: slot,
        boot_id: "2".into(),
        watchdog: false,
        variables: Variables {
            status: [status(NORMAL), status(NORMAL)],
            fw_current: Some(slot.number()),
            os_current: Some(slot.number()),
            trial: Some(Trial {
                slot: B,
                stage: Stage::None,
                left: 3,
            }),
            ..Variables::default()
        },
    }
}

fn of(phase: Phase, observed: &Observed) -> Decision {
    decide(&Recorded::Known(Box::new(journal(phase))), observed)
}

/// Returns the cause for which the old slot runs.
fn cause(observed: &Observed) -> Cause {
    for phase in [Phase::Armed, Phase::Trial] {
        match of(phase, observed) {
            Decision::CameBack(reason) => {
                assert_eq!(
                    (reason.slot, reason.digest.as_deref()),
                    (B, Some("sha256:2"))
                );
            }
            other => panic!("{phase:?}: {other:?}"),
        }
    }
    match of(Phase::Armed, observed) {
        Decision::CameBack(reason) => reason.cause,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_new_slot_is_on_trial() {
    for phase in [Phase::Written, Phase::Armed, Phase::Trial] {
        assert_eq!(of(phase, &runs(B)), Decision::Trial);
    }
    // Without the variable, too: it may have been lost.
    let mut observed = runs(B);
    observed.variables.trial = None;
    assert_eq!(of(Phase::Armed, &observed), Decision::Trial);
}

#[test]
fn reasons_follow_the_evidence() {
    let mut never_left = runs(A);
    never_left.variables.fw_next = Some(1);
    assert_eq!(cause(&never_left), Cause::NeverLeft);
    for code in [2, 3, 5, 9, 12, 14, 17, 99] {
        let mut refused = runs(A);
        refused.variables.fw_status = Some(code);
        let expected = Cause::FirmwareRefused { code };
        assert_eq!(cause(&refused), expected);
        assert!(expected.to_string().contains(&format!("code {code}")));
    }
    assert_eq!(cause(&runs(A)), Cause::SwitchIgnored);
    // Success of a change, and one in progress, refuse nothing.
    for code in [0, 1] {
        let mut observed = runs(A);
        observed.variables.fw_status = Some(code);
        assert_eq!(cause(&observed), Cause::SwitchIgnored);
    }
    let mut never = runs(A);
    never.variables.status[1] = status(UNBOOTABLE);
    assert_eq!(cause(&never), Cause::NeverStarted);
    for after in &Stage::ALL[1..] {
        for watchdog in [false, true] {
            let mut stopped = runs(A);
            stopped.watchdog = watchdog;
            stopped.variables.trial = Some(Trial {
                slot: B,
                stage: *after,
                left: 1,
            });
            // Whatever else the firmware has noted on the way back.
            stopped.variables.status[1] = status(UNBOOTABLE);
            stopped.variables.fw_status = Some(5);
            let after = *after;
            assert_eq!(cause(&stopped), Cause::Stopped { after, watchdog });
        }
    }
}

#[test]
fn attempts_are_those_of_the_slot() {
    let mut observed = runs(A);
    observed.variables.trial = Some(Trial {
        slot: B,
        stage: Stage::Root,
        left: 1,
    });
    let Decision::CameBack(reason) = of(Phase::Armed, &observed) else {
        panic!();
    };
    assert_eq!(reason.attempts, 2);
    assert!(reason.to_string().contains("slot B, version 2, 2 attempts"));
}

#[test]
fn a_verdict_counts_before_all_else() {
    let verdicts = [
        Cause::health("engine", "does not answer", &["line".into()]),
        Cause::Operator,
    ];
    for verdict in verdicts {
        let mut recorded = journal(Phase::Trial);
        recorded.update.as_mut().unwrap().verdict = Some(verdict.clone());
        let recorded = Recorded::Known(Box::new(recorded));
        let mut observed = runs(A);
        observed.variables.status[1] = status(UNBOOTABLE);
        observed.variables.fw_status = Some(5);
        let Decision::CameBack(reason) = decide(&recorded, &observed) else {
            panic!();
        };
        assert_eq!(reason.cause, verdict);
        // The power was lost before the device left.
        assert!(matches!(decide(&recorded, &runs(B)), Decision::GoBack(r) if r.cause == verdict));
    }
}

#[test]
fn a_root_of_the_other_slot_is_no_success() {
    let mut observed = runs(B);
    observed.root = A;
    let expected = Cause::WrongRoot { root: A };
    assert!(matches!(of(Phase::Armed, &observed), Decision::GoBack(r) if r.cause == expected));
    let mut observed = runs(A);
    observed.root = B;
    for verdict in [None, Some(Cause::Operator)] {
        let mut recorded = journal(Phase::Armed);
        recorded.update.as_mut().unwrap().verdict = verdict;
        // The firmware already starts A: asking it for A would mark it unbootable.
        let decision = decide(&Recorded::Known(Box::new(recorded)), &observed);
        assert!(matches!(decision, Decision::Stray(_)), "{decision:?}");
    }
}

#[test]
fn in_the_boot_of_the_request_nothing_has_come_back() {
    let mut observed = runs(A);
    observed.boot_id = "1".into();
    observed.variables.fw_next = Some(1);
    assert_eq!(of(Phase::Armed, &observed), Decision::Awaiting);
    assert_eq!(of(Phase::Written, &observed), Decision::Ready);
    // Somebody deleted the request.
    observed.variables.fw_next = None;
    assert_eq!(of(Phase::Armed, &observed), Decision::Ready);
}

#[test]
fn a_request_that_was_being_made_claims_nothing() {
    for trial in [None, runs(A).variables.trial] {
        let mut observed = runs(A);
        observed.variables.trial = trial;
        assert_eq!(of(Phase::Written, &observed), Decision::Ready);
        if trial.is_none() {
            // Left from an earlier update, or from RAUC, which marks what it writes.
            observed.variables.fw_status = Some(5);
            observed.variables.status[1] = status(UNBOOTABLE);
            assert_eq!(of(Phase::Written, &observed), Decision::Ready);
        }
    }
    assert_eq!(of(Phase::Fetching, &runs(A)), Decision::Interrupted);
    assert!(matches!(of(Phase::Fetching, &runs(B)), Decision::Stray(_)));
    // It was followed.
    let mut observed = runs(A);
    observed.variables.fw_status = Some(12);
    assert!(matches!(
        of(Phase::Written, &observed),
        Decision::CameBack(_)
    ));
}

#[test]
fn without_an_update_the_committed_slot_runs() {
    let mut recorded = journal(Phase::Committed);
    recorded.update = None;
    let settled = Recorded::Known(Box::new(recorded.clone()));
    assert_eq!(decide(&settled, &runs(A)), Decision::Settled);
    let mut elsewhere = runs(B);
    elsewhere.variables.trial = None;
    assert!(matches!(
        decide(&settled, &elsewhere),
        Decision::CameBack(r) if r.cause == Cause::CommittedGone && r.slot == A
    ));
    let back = Reason {
        cause: Cause::NeverLeft,
        slot: B,
        digest: None,
        version: None,
        attempts: 0,
    };
    recorded.back = Some(back.clone());
    let settled = Recorded::Known(Box::new(recorded));
    assert_eq!(decide(&settled, &runs(A)), Decision::Settled);
    assert_eq!(decide(&settled, &elsewhere), Decision::Stray(back.clone()));
    // The firmware was faster than the taking back of the request.
    assert_eq!(decide(&settled, &runs(B)), Decision::GoBack(back));
}

#[test]
fn a_lost_journal_is_no_success() {
    for recorded in [Recorded::Absent, Recorded::Damaged("x".into())] {
        let lost = |d: &Decision| match d {
            Decision::GoBack(r) | Decision::CameBack(r) => {
                r.cause == Cause::JournalLost && r.digest.is_none() && r.slot == B
            }
            _ => false,
        };
        assert!(lost(&decide(&recorded, &runs(B))));
        let mut observed = runs(A);
        observed.variables.trial.as_mut().unwrap().stage = Stage::Data;
        assert!(lost(&decide(&recorded, &observed)));
        observed.variables.trial.as_mut().unwrap().stage = Stage::Initrd;
        assert!(matches!(
            decide(&recorded, &observed),
            Decision::CameBack(Reason {
                cause: Cause::Stopped { .. },
                ..
            })
        ));
        observed.variables.trial = None;
        assert_eq!(decide(&recorded, &observed), Decision::Settled);
    }
}
