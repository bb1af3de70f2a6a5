//! Timelines in which one run takes the place of another, or a run does not serve.

use super::*;

const REPLACE: Input = Input::Replace;

fn ready(run: RunId) -> Input {
    Input::Ready { run }
}

fn unhealthy(run: RunId) -> Input {
    Input::Unhealthy { run, roll: 0 }
}

fn up(timeline: Timeline<'_>) -> Instance {
    let mut whole = alloc::vec![(0, UP, spawn(RUN_1)), (1, started(RUN_1), None)];
    whole.extend_from_slice(timeline);
    check(&whole)
}

fn up_since(run: RunId, since_ms: u64) -> Phase {
    Phase::Up { run, since: Millis(since_ms), settled: false }
}

#[test]
fn the_old_run_is_stopped_only_once_the_new_one_is_ready() {
    let instance = up(&[
        (10, REPLACE, spawn(RUN_2)),
        (11, started(RUN_2), None),
        (12, DEADLINE, None),
        (500, ready(RUN_2), stop(RUN_1)),
        (600, succeeded(RUN_1), kill(RUN_1)),
        (601, gone(RUN_1), None),
    ]);
    assert_eq!((instance.phase(), instance.beside()), (up_since(RUN_2, 500), None));
    assert_eq!(instance.restarts(), 0);
}

#[test]
fn a_new_run_that_is_never_ready_is_asked_to_end_and_the_old_one_kept() {
    let instance = up(&[
        (10, REPLACE, spawn(RUN_2)),
        (11, started(RUN_2), None),
        (20_009, DEADLINE, None),
        (20_010, DEADLINE, stop(RUN_2)),
        (20_011, ready(RUN_2), None),
        (25_009, DEADLINE, None),
        (25_010, DEADLINE, kill(RUN_2)),
        (25_011, failed(RUN_2), kill(RUN_2)),
        (25_012, gone(RUN_2), None),
    ]);
    let phase = Phase::Up { run: RUN_1, since: Millis(1), settled: true };
    assert_eq!((instance.phase(), instance.beside()), (phase, None));
    assert_eq!((instance.failures(), instance.restarts()), (0, 0));
}

#[test]
fn a_new_run_that_crashes_or_cannot_start_leaves_the_old_one_as_it_was() {
    let crashed = up(&[
        (10, REPLACE, spawn(RUN_2)),
        (11, started(RUN_2), None),
        (12, failed(RUN_2), kill(RUN_2)),
        (13, gone(RUN_2), None),
    ]);
    let unstarted = up(&[(10, REPLACE, spawn(RUN_2)), (11, not_spawned(RUN_2), None)]);
    let unhealthy = up(&[
        (10, REPLACE, spawn(RUN_2)),
        (11, started(RUN_2), None),
        (12, unhealthy(RUN_2), stop(RUN_2)),
        (13, failed(RUN_2), kill(RUN_2)),
        (14, gone(RUN_2), None),
    ]);
    for instance in [crashed, unstarted, unhealthy] {
        assert_eq!((instance.phase(), instance.beside()), (up_since(RUN_1, 1), None));
        assert_eq!((instance.failures(), instance.last_run()), (0, RUN_2));
    }
}

#[test]
fn an_old_run_that_ends_by_itself_leaves_its_place_to_the_new_one() {
    let instance = up(&[
        (10, REPLACE, spawn(RUN_2)),
        (11, started(RUN_2), None),
        (12, failed(RUN_1), kill(RUN_1)),
        (13, gone(RUN_1), None),
    ]);
    assert_eq!((instance.phase(), instance.beside()), (up_since(RUN_2, 12), None));
    let not_begun = up(&[
        (10, REPLACE, spawn(RUN_2)),
        (12, failed(RUN_1), kill(RUN_1)),
        (13, not_spawned(RUN_2), spawn(RUN_3)),
    ]);
    assert_eq!(not_begun.phase(), Phase::Starting { run: RUN_3 });
}

#[test]
fn a_new_run_whose_time_is_over_when_the_old_one_ends_takes_no_place_any_more() {
    let instance = up(&[
        (10, REPLACE, spawn(RUN_2)),
        (11, started(RUN_2), None),
        (20_010, failed(RUN_1), kill(RUN_1)),
        (20_010, gone(RUN_1), spawn(RUN_3)),
        (20_010, started(RUN_3), None),
        (20_010, ready(RUN_2), None),
        (20_011, DEADLINE, stop(RUN_2)),
        (20_012, failed(RUN_2), kill(RUN_2)),
        (20_013, gone(RUN_2), None),
    ]);
    assert_eq!((instance.phase(), instance.beside()), (up_since(RUN_3, 20_010), None));
}

#[test]
fn an_old_run_that_does_not_end_in_time_is_killed() {
    let instance = up(&[
        (10, REPLACE, spawn(RUN_2)),
        (11, started(RUN_2), None),
        (20, ready(RUN_2), stop(RUN_1)),
        (5_019, DEADLINE, None),
        (5_020, DEADLINE, kill(RUN_1)),
        (6_020, DEADLINE, kill(RUN_1)),
        (6_021, failed(RUN_1), kill(RUN_1)),
        (6_022, gone(RUN_1), None),
    ]);
    assert_eq!(instance.beside(), None);
}

#[test]
fn a_new_run_that_crashes_while_the_old_one_drains_is_followed_by_another() {
    let instance = up(&[
        (10, REPLACE, spawn(RUN_2)),
        (11, started(RUN_2), None),
        (20, ready(RUN_2), stop(RUN_1)),
        (30, failed(RUN_2), kill(RUN_2)),
        (31, gone(RUN_2), spawn(RUN_3)),
        (32, started(RUN_3), None),
        (40, succeeded(RUN_1), kill(RUN_1)),
        (41, gone(RUN_1), None),
    ]);
    assert_eq!((instance.phase(), instance.beside()), (up_since(RUN_3, 32), None));
}

#[test]
fn a_stop_ends_both_runs() {
    let instance = up(&[
        (10, REPLACE, spawn(RUN_2)),
        (11, started(RUN_2), None),
        (20, DOWN, stop(RUN_1)),
        (20, DEADLINE, stop(RUN_2)),
        (21, ready(RUN_2), None),
        (22, failed(RUN_2), kill(RUN_2)),
        (23, gone(RUN_2), None),
        (24, succeeded(RUN_1), kill(RUN_1)),
        (25, gone(RUN_1), None),
    ]);
    assert_eq!((instance.phase(), instance.beside()), (Phase::Down, None));
}

#[test]
fn where_nothing_is_up_a_replacement_is_a_restart() {
    check(&[(0, UP, spawn(RUN_1)), (1, REPLACE, stop(RUN_1))]);
    check(&[(0, REPLACE, spawn(RUN_1))]);
    // One is under way already: the next begins from scratch.
    up(&[(10, REPLACE, spawn(RUN_2)), (11, REPLACE, stop(RUN_1)), (11, DEADLINE, stop(RUN_2))]);
}

#[test]
fn a_run_that_does_not_serve_is_stopped_as_always_and_counts_as_failed() {
    let instance = up(&[
        (50, unhealthy(RUN_1), stop(RUN_1)),
        (51, unhealthy(RUN_1), None),
        (60, succeeded(RUN_1), kill(RUN_1)),
        (61, gone(RUN_1), spawn(RUN_2)),
    ]);
    assert_eq!((instance.failures(), instance.restarts()), (1, 1));
    assert_eq!(instance.phase(), Phase::Starting { run: RUN_2 });
}

#[test]
fn one_that_does_not_serve_and_is_never_restarted_has_failed() {
    let instance = check_when(
        When::Never,
        &[
            (0, UP, spawn(RUN_1)),
            (1, started(RUN_1), None),
            (5, unhealthy(RUN_1), stop(RUN_1)),
            (6, succeeded(RUN_1), kill(RUN_1)),
            (7, gone(RUN_1), None),
        ],
    );
    assert_eq!(instance.phase(), Phase::Failed);
}

#[test]
fn a_run_that_takes_too_long_is_stopped_and_has_failed() {
    let restart = Restart { when: When::Never, ..POLICY.restart };
    let policy = Policy { restart, run_timeout: Some(Duration::from_secs(60)), ..POLICY };
    let timeline = [
        (0, UP, spawn(RUN_1)),
        (1, started(RUN_1), None),
        (60_000, DEADLINE, None),
        (60_001, DEADLINE, stop(RUN_1)),
        (60_002, succeeded(RUN_1), kill(RUN_1)),
        (60_003, gone(RUN_1), None),
    ];
    let instance = check_from(&policy, Instance::default(), &timeline);
    assert_eq!(instance.phase(), Phase::Failed);
    // Without the limit it goes on.
    let policy = Policy { run_timeout: None, ..policy };
    let mut timeline = timeline[..4].to_vec();
    timeline[3].2 = None;
    check_from(&policy, Instance::default(), &timeline);
}
