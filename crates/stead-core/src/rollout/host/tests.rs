//! Every stage and every ask, in tables.

use super::*;
use alloc::format;
use alloc::string::ToString;
use alloc::vec::Vec;

use HostAskWhat::{Commit, Keep, Stage, Switch};
use HostStage::{Claimed, Committed, Staged, Switched};

const MINE: &str = "r-mine";
const OTHER: &str = "r-other";
const EPOCH: u64 = 5;

fn id(text: &str) -> RolloutId {
    text.parse().unwrap()
}

fn told() -> HostStage {
    HostStage::Reverted { why: "red".to_owned(), by_itself: false }
}

fn by_itself() -> HostStage {
    HostStage::Reverted { why: "late".to_owned(), by_itself: true }
}

fn stages() -> [HostStage; 6] {
    [Claimed, Staged, Switched, Committed, told(), by_itself()]
}

fn revert() -> HostAskWhat {
    HostAskWhat::Revert { why: "red".to_owned() }
}

fn claim(resume: bool) -> HostAskWhat {
    HostAskWhat::Claim { who: "ann".to_owned(), resume }
}

fn asks() -> [HostAskWhat; 7] {
    [claim(false), claim(true), Stage, Switch, Keep, Commit, revert()]
}

fn held(stage: HostStage) -> HostRollout {
    let held = Held { id: id(MINE), who: "ann".to_owned(), stage };
    HostRollout { epoch: EPOCH, held: Some(held), for_good: None }
}

fn ask(epoch: u64, of: &str, what: HostAskWhat) -> HostAsk {
    HostAsk { epoch, id: id(of), what }
}

/// What is held afterwards and what is done, or why not, in few words.
fn told_as(taken: &Taken) -> String {
    match taken {
        Ok((HostRollout { epoch, held: Some(held), .. }, what)) => {
            let by_itself = matches!(held.stage, HostStage::Reverted { by_itself: true, .. });
            let again = if by_itself { " by itself" } else { "" };
            format!("{epoch} {} {}{again}: {what:?}", held.id, held.stage)
        }
        Ok((HostRollout { epoch, held: None, .. }, what)) => format!("{epoch}: {what:?}"),
        Err(HostRefusal::Busy { id, .. }) => format!("busy with {id}"),
        Err(HostRefusal::OutOfOrder { stage }) => format!("is {stage}"),
        Err(HostRefusal::Stale { epoch }) => format!("knows {epoch}"),
        Err(HostRefusal::Unclaimed) => "unclaimed".to_owned(),
    }
}

#[test]
fn an_operator_leads_a_host_from_stage_to_stage() {
    let refused = ["is claimed", "is staged", "is switched", "is committed", "is reverted"];
    let [_, _, is_switched, is_committed, is_reverted] = refused;
    let keep = ["claimed", "staged", "switched", "committed", "reverted", "reverted by itself"]
        .map(|stage| format!("5 r-mine {stage}: Nothing"));
    let table: [(HostAskWhat, [&str; 6]); 7] = [
        (claim(false), keep.each_ref().map(String::as_str)),
        (claim(true), keep.each_ref().map(String::as_str)),
        (Keep, keep.each_ref().map(String::as_str)),
        (
            Stage,
            [
                "5 r-mine staged: Store",
                "5 r-mine staged: Store",
                is_switched,
                is_committed,
                is_reverted,
                is_reverted,
            ],
        ),
        (
            Switch,
            [
                "is claimed",
                "5 r-mine switched: PutStaged",
                "5 r-mine switched: PutStaged",
                is_committed,
                is_reverted,
                "5 r-mine switched: PutStaged",
            ],
        ),
        (
            Commit,
            [
                "is claimed",
                "is staged",
                "5 r-mine committed: KeepNew",
                "5 r-mine committed: KeepNew",
                is_reverted,
                is_reverted,
            ],
        ),
        (
            revert(),
            [
                "5 r-mine reverted: Drop",
                "5 r-mine reverted: Drop",
                "5 r-mine reverted: PutBack",
                is_committed,
                "5 r-mine reverted: Nothing",
                "5 r-mine reverted: Nothing",
            ],
        ),
    ];
    for (what, expected) in table {
        for (stage, expected) in stages().into_iter().zip(expected) {
            let taken = held(stage.clone()).take(&ask(EPOCH, MINE, what.clone()), true);
            assert_eq!(told_as(&taken), expected, "{what:?} of one that is {stage:?}");
        }
    }
}

#[test]
fn a_new_rollout_is_let_in_where_none_is_under_way() {
    let (busy, fresh) = ("busy with r-mine", "6 r-other claimed: Drop");
    for (alive, expected) in [
        (true, [busy, busy, busy, fresh, fresh, fresh]),
        (false, [fresh, fresh, busy, fresh, fresh, fresh]),
    ] {
        for (stage, expected) in stages().into_iter().zip(expected) {
            let is_busy = expected == busy;
            assert_eq!(held(stage.clone()).is_under_way(alive), is_busy, "{stage:?}");
            let taken = held(stage.clone()).take(&ask(6, OTHER, claim(false)), alive);
            assert_eq!(told_as(&taken), expected, "{stage:?}, alive: {alive}");
        }
    }
    let first = HostRollout::default().take(&ask(1, MINE, claim(false)), false);
    assert_eq!(told_as(&first), "1 r-mine claimed: Nothing");
}

#[test]
fn one_that_resumes_raises_the_epoch_and_finds_the_stage_as_it_was() {
    for stage in stages() {
        let mut raised = held(stage.clone());
        raised.epoch = 6;
        for resume in [true, false] {
            let taken = held(stage.clone()).take(&ask(6, MINE, claim(resume)), true);
            assert_eq!(taken, Ok((raised.clone(), HostDo::Nothing)), "{stage:?}");
        }
    }
}

#[test]
fn one_that_resumes_shuts_those_before_it_out_where_nothing_of_its_rollout_is_held() {
    for stage in stages() {
        let taken = held(stage.clone()).take(&ask(6, OTHER, claim(true)), false);
        if stage == Switched {
            assert!(matches!(taken, Err(HostRefusal::Busy { .. })));
            continue;
        }
        let mut raised = held(stage.clone());
        raised.epoch = 6;
        assert_eq!(taken, Ok((raised.clone(), HostDo::Nothing)), "{stage:?}");
        let again = raised.clone().take(&ask(6, OTHER, claim(true)), false);
        assert_eq!(again, Ok((raised.clone(), HostDo::Nothing)), "{stage:?}");
        let late = raised.take(&ask(EPOCH, OTHER, claim(false)), false);
        assert_eq!(late, Err(HostRefusal::Stale { epoch: 6 }));
    }
}

#[test]
fn a_stale_epoch_changes_nothing_whatever_it_asks() {
    for stage in stages() {
        for what in asks() {
            for alive in [true, false] {
                let taken = held(stage.clone()).take(&ask(4, MINE, what.clone()), alive);
                assert_eq!(taken, Err(HostRefusal::Stale { epoch: 5 }), "{stage:?} {what:?}");
            }
        }
    }
}

#[test]
fn of_two_operators_that_drew_the_same_epoch_only_the_first_is_let_in() {
    let bob = HostAskWhat::Claim { who: "bob".to_owned(), resume: true };
    let taken = held(Switched).take(&ask(EPOCH, MINE, bob), false);
    assert_eq!(taken, Err(HostRefusal::Stale { epoch: EPOCH }));
    let taken = held(Committed).take(&ask(EPOCH, OTHER, claim(false)), false);
    assert_eq!(taken, Err(HostRefusal::Stale { epoch: EPOCH }));
}

#[test]
fn nothing_but_a_claim_lets_an_operator_in() {
    for what in asks().into_iter().skip(2) {
        for (epoch, of) in [(6, MINE), (EPOCH, OTHER)] {
            let taken = held(Staged).take(&ask(epoch, of, what.clone()), false);
            assert_eq!(taken, Err(HostRefusal::Unclaimed), "{what:?}");
        }
        let taken = HostRollout::default().take(&ask(0, MINE, what.clone()), false);
        assert_eq!(taken, Err(HostRefusal::Unclaimed), "{what:?}");
    }
}

#[test]
fn an_ask_that_comes_again_changes_nothing_more() {
    for stage in stages() {
        for what in asks() {
            let ask = ask(EPOCH, MINE, what);
            if let Ok((once, _)) = held(stage.clone()).take(&ask, true) {
                let twice = once.clone().take(&ask, true).map(|(twice, _)| twice);
                assert_eq!(twice, Ok(once), "{stage:?} {ask:?}");
            }
        }
    }
}

#[test]
fn a_switch_that_nobody_commits_is_taken_back() {
    for stage in stages() {
        let (after, what) = held(stage.clone()).expire();
        if stage == Switched {
            let stage = HostStage::Reverted { why: NOT_COMMITTED.to_owned(), by_itself: true };
            assert_eq!((after, what), (held(stage), HostDo::PutBack));
        } else {
            assert_eq!((after, what), (held(stage), HostDo::Nothing));
        }
    }
}

#[test]
fn a_switch_that_arrives_after_the_way_back_was_asked_is_refused() {
    let (reverted, _) = held(Staged).take(&ask(EPOCH, MINE, revert()), true).unwrap();
    let late = reverted.take(&ask(EPOCH, MINE, Switch), true);
    assert_eq!(late, Err(HostRefusal::OutOfOrder { stage: told() }));
}

#[test]
fn a_host_knows_what_it_has_for_good_until_it_is_given_something_else() {
    let (committed, _) = held(Switched).take(&ask(EPOCH, MINE, Commit), true).unwrap();
    assert_eq!(committed.for_good, Some(id(MINE)));
    // Another rollout that comes to nothing changes nothing of that.
    let (claimed, _) = committed.take(&ask(9, OTHER, claim(false)), true).unwrap();
    let (reverted, _) = claimed.take(&ask(9, OTHER, revert()), true).unwrap();
    assert_eq!(reverted.for_good, Some(id(MINE)));
    assert_eq!(reverted.leave().for_good, None);
}

#[test]
fn what_was_put_by_hand_is_not_overwritten_by_a_rollout_of_before() {
    let left = held(by_itself()).leave();
    assert_eq!(left.clone().take(&ask(EPOCH, MINE, Switch), true), Err(HostRefusal::Unclaimed));
    let taken = left.take(&ask(4, OTHER, claim(false)), true);
    assert_eq!(taken, Err(HostRefusal::Stale { epoch: EPOCH }));
}

#[test]
fn an_epoch_lies_above_all_that_were_seen() {
    for chance in [0, 1, EPOCH_GAP, u64::MAX] {
        let epoch = epoch_above([3, 9, 4], chance);
        assert!((10..10 + EPOCH_GAP).contains(&epoch), "{epoch}");
    }
    assert_eq!(epoch_above([], 0), 1);
    assert_eq!(epoch_above([u64::MAX], 7), u64::MAX);
}

#[test]
fn what_is_on_disk_and_on_the_wire_stays_readable() {
    let json = |value: &HostRollout| serde_json::to_string(value).unwrap();
    let lines: Vec<String> = stages().into_iter().map(|stage| json(&held(stage))).collect();
    let stages = [
        r#""claimed""#,
        r#""staged""#,
        r#""switched""#,
        r#""committed""#,
        r#"{"reverted":{"why":"red","by_itself":false}}"#,
        r#"{"reverted":{"why":"late","by_itself":true}}"#,
    ];
    for (line, stage) in lines.iter().zip(stages) {
        let held = format!(r#"{{"id":"r-mine","who":"ann","stage":{stage}}}"#);
        assert_eq!(*line, format!(r#"{{"epoch":5,"held":{held}}}"#));
        let read: HostRollout = serde_json::from_str(line).unwrap();
        assert_eq!(json(&read), *line);
    }
    for (what, expected) in asks().into_iter().zip([
        r#"{"claim":{"who":"ann","resume":false}}"#,
        r#"{"claim":{"who":"ann","resume":true}}"#,
        r#""stage""#,
        r#""switch""#,
        r#""keep""#,
        r#""commit""#,
        r#"{"revert":{"why":"red"}}"#,
    ]) {
        let line = serde_json::to_string(&ask(7, MINE, what)).unwrap();
        assert_eq!(line, format!(r#"{{"epoch":7,"id":"r-mine","what":{expected}}}"#));
    }
    let busy = HostRefusal::Busy { who: "ann".to_owned(), id: id(MINE) };
    assert_eq!(serde_json::to_string(&busy).unwrap(), r#"{"busy":{"who":"ann","id":"r-mine"}}"#);
    assert_eq!(busy.to_string(), "a rollout of ann is under way");
    assert!(serde_json::from_str::<RolloutId>("\"../x\"").is_err());
}
