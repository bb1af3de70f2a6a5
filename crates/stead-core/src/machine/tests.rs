//! Timelines of the machine, and its answer to every input in every phase.

use super::*;

mod answers;
mod properties;
mod replaced;
mod world;

const RUN_1: RunId = RunId(1);
const RUN_2: RunId = RunId(2);
const RUN_3: RunId = RunId(3);
const RUN_4: RunId = RunId(4);

const POLICY: Policy = Policy {
    restart: Restart {
        when: When::Always,
        backoff_min: Duration::from_millis(100),
        backoff_max: Duration::from_secs(1),
        reset_after: Duration::from_secs(10),
    },
    stop_timeout: Duration::from_secs(5),
    replace_within: Duration::from_secs(20),
    run_timeout: None,
};

const DEADLINE: Input = Input::DeadlinePassed;
const DOWN: Input = Input::Want(Goal::Down);
const UP: Input = Input::Want(Goal::Up);

/// An end that takes all of the backoff.
fn failed(run: RunId) -> Input {
    Input::Exited { run, success: false, roll: 0 }
}

fn succeeded(run: RunId) -> Input {
    Input::Exited { run, success: true, roll: 0 }
}

fn gone(run: RunId) -> Input {
    Input::Gone { run }
}

fn not_spawned(run: RunId) -> Input {
    Input::SpawnFailed { run, roll: 0 }
}

fn started(run: RunId) -> Input {
    Input::Started { run }
}

#[expect(clippy::unnecessary_wraps, reason = "a timeline says what is done, if anything")]
fn kill(run: RunId) -> Option<Action> {
    Some(Action::Kill { run })
}

#[expect(clippy::unnecessary_wraps, reason = "a timeline says what is done, if anything")]
fn spawn(run: RunId) -> Option<Action> {
    Some(Action::Spawn { run })
}

#[expect(clippy::unnecessary_wraps, reason = "a timeline says what is done, if anything")]
fn stop(run: RunId) -> Option<Action> {
    Some(Action::Stop { run })
}

/// What happens when, and what must be done then.
type Timeline<'a> = &'a [(u64, Input, Option<Action>)];

fn check(timeline: Timeline<'_>) -> Instance {
    check_from(&POLICY, Instance::default(), timeline)
}

fn check_when(when: When, timeline: Timeline<'_>) -> Instance {
    let policy = Policy { restart: Restart { when, ..POLICY.restart }, ..POLICY };
    check_from(&policy, Instance::default(), timeline)
}

fn check_from(policy: &Policy, mut instance: Instance, timeline: Timeline<'_>) -> Instance {
    for (at_ms, input, expected) in timeline {
        let action;
        (instance, action) = step(policy, instance, *input, Millis(*at_ms));
        assert_eq!(action, *expected, "at {at_ms} ms: {input:?} led to {instance:?}");
    }
    instance
}

#[test]
fn an_instance_is_down_until_it_is_wanted_up() {
    assert_eq!(check(&[(0, DOWN, None)]), Instance::default());
    assert_eq!(Instance::default().phase(), Phase::Down);
    let instance = check(&[(5, UP, spawn(RUN_1)), (7, started(RUN_1), None)]);
    assert_eq!(instance.phase(), Phase::Up { run: RUN_1, since: Millis(7), settled: false });
    assert_eq!((instance.goal(), instance.last_run()), (Goal::Up, RUN_1));
}

#[test]
fn wanting_what_is_wanted_already_changes_nothing() {
    let once = [(0, UP, spawn(RUN_1)), (1, started(RUN_1), None)];
    let twice = [(0, UP, spawn(RUN_1)), (0, UP, None), (1, started(RUN_1), None), (2, UP, None)];
    assert_eq!(check(&once), check(&twice));
    let once = [(0, UP, spawn(RUN_1)), (9, DOWN, stop(RUN_1))];
    let twice = [(0, UP, spawn(RUN_1)), (9, DOWN, stop(RUN_1)), (10, DOWN, None)];
    assert_eq!(check(&once), check(&twice));
}

#[test]
fn the_first_failure_is_followed_by_the_next_run_at_once() {
    let instance = check(&[
        (0, UP, spawn(RUN_1)),
        (1, started(RUN_1), None),
        (50, failed(RUN_1), kill(RUN_1)),
        (50, gone(RUN_1), spawn(RUN_2)),
        (51, started(RUN_2), None),
    ]);
    assert_eq!(instance.phase(), Phase::Up { run: RUN_2, since: Millis(51), settled: false });
    assert_eq!((instance.failures(), instance.restarts()), (1, 1));
}

#[test]
fn nothing_is_spawned_before_the_whole_tree_of_the_last_run_is_gone() {
    let instance = check(&[
        (0, UP, spawn(RUN_1)),
        (1, started(RUN_1), None),
        (50, failed(RUN_1), kill(RUN_1)),
        (51, Input::Start, None),
        (52, Input::Restart, None),
        (53, DOWN, None),
        (54, UP, None),
        (1049, DEADLINE, None),
        (1050, DEADLINE, kill(RUN_1)),
    ]);
    let after = After::Start;
    assert_eq!(instance.phase(), Phase::Sweeping { run: RUN_1, kill_at: Millis(2050), after });
}

#[test]
fn backoff_begins_with_the_second_failure_in_a_row_and_doubles() {
    let instance = check(&[
        (0, UP, spawn(RUN_1)),
        (0, failed(RUN_1), kill(RUN_1)),
        (0, gone(RUN_1), spawn(RUN_2)),
        (0, failed(RUN_2), kill(RUN_2)),
        (10, gone(RUN_2), None),
        (99, DEADLINE, None),
        (100, DEADLINE, spawn(RUN_3)),
        (100, failed(RUN_3), kill(RUN_3)),
        (100, gone(RUN_3), None),
        (299, DEADLINE, None),
        (300, DEADLINE, spawn(RUN_4)),
    ]);
    assert_eq!((instance.failures(), instance.restarts()), (3, 3));
    assert_eq!(instance.phase(), Phase::Starting { run: RUN_4 });
}

#[test]
fn the_backoff_runs_while_the_tree_is_swept() {
    let swept_at = |gone_at_ms: u64| {
        [
            (0, UP, spawn(RUN_1)),
            (0, failed(RUN_1), kill(RUN_1)),
            (0, gone(RUN_1), spawn(RUN_2)),
            (0, failed(RUN_2), kill(RUN_2)),
            (gone_at_ms, gone(RUN_2), if gone_at_ms < 100 { None } else { spawn(RUN_3) }),
        ]
    };
    for (gone_at_ms, phase, restarts) in [
        (99, Phase::Waiting { start_at: Millis(100) }, 1),
        (100, Phase::Starting { run: RUN_3 }, 2),
        (101, Phase::Starting { run: RUN_3 }, 2),
    ] {
        let instance = check(&swept_at(gone_at_ms));
        assert_eq!((instance.phase(), instance.restarts()), (phase, restarts), "{gone_at_ms} ms");
    }
}

#[test]
fn a_run_that_cannot_be_spawned_is_a_failure_with_nothing_to_sweep() {
    let instance = check(&[
        (0, UP, spawn(RUN_1)),
        (1, not_spawned(RUN_1), spawn(RUN_2)),
        (2, not_spawned(RUN_2), None),
        (101, DEADLINE, None),
        (102, DEADLINE, spawn(RUN_3)),
    ]);
    assert_eq!((instance.failures(), instance.restarts()), (2, 2));
    let never = [(0, UP, spawn(RUN_1)), (1, not_spawned(RUN_1), None)];
    assert_eq!(check_when(When::Never, &never).phase(), Phase::Failed);
    let jitter = Input::SpawnFailed { run: RUN_2, roll: u32::MAX };
    let instance =
        check(&[(0, UP, spawn(RUN_1)), (1, not_spawned(RUN_1), spawn(RUN_2)), (2, jitter, None)]);
    assert_eq!(instance.phase(), Phase::Waiting { start_at: Millis(52) });
}

#[test]
fn backoff_doubles_up_to_its_cap_and_jitter_takes_at_most_half() {
    let cases = [
        (0, 0, 0),
        (1, 0, 0),
        (2, 100, 50),
        (3, 200, 100),
        (4, 400, 200),
        (5, 800, 400),
        (6, 1000, 500),
        (7, 1000, 500),
        (65, 1000, 500),
        (66, 1000, 500),
        (u32::MAX, 1000, 500),
    ];
    for (failures, longest_ms, shortest_ms) in cases {
        let at = |roll| backoff(&POLICY.restart, failures, roll);
        assert_eq!(at(0), Duration::from_millis(longest_ms), "{failures} failures");
        assert_eq!(at(u32::MAX), Duration::from_millis(shortest_ms), "{failures} failures");
    }
    let quarter_off = backoff(&POLICY.restart, 4, u32::MAX / 2 + 1);
    assert_eq!(quarter_off, Duration::from_millis(300));
    let odd = Restart { backoff_min: Duration::from_millis(5), ..POLICY.restart };
    assert_eq!(backoff(&odd, 2, u32::MAX), Duration::from_millis(3));
}

#[test]
fn a_backoff_past_all_limits_is_the_longest_one() {
    let endless = Restart { backoff_max: Duration::MAX, ..POLICY.restart };
    assert_eq!(backoff(&endless, 66, 0), Duration::from_millis(u64::MAX));
    assert_eq!(backoff(&endless, u32::MAX, 0), Duration::from_millis(u64::MAX));
    let turned = Restart { backoff_min: Duration::from_secs(9), ..POLICY.restart };
    assert_eq!(backoff(&turned, 2, 0), POLICY.restart.backoff_max);
}

/// Two failures, and a third run that is up since 200 ms.
const TWO_FAILURES: [(u64, Input, Option<Action>); 8] = [
    (0, UP, Some(Action::Spawn { run: RUN_1 })),
    (0, Input::Exited { run: RUN_1, success: false, roll: 0 }, Some(Action::Kill { run: RUN_1 })),
    (0, Input::Gone { run: RUN_1 }, Some(Action::Spawn { run: RUN_2 })),
    (0, Input::Exited { run: RUN_2, success: false, roll: 0 }, Some(Action::Kill { run: RUN_2 })),
    (0, Input::Gone { run: RUN_2 }, None),
    (100, DEADLINE, Some(Action::Spawn { run: RUN_3 })),
    (200, Input::Started { run: RUN_3 }, None),
    (201, DEADLINE, None),
];

#[test]
fn a_run_that_has_lived_long_enough_settles_and_its_failures_are_forgotten() {
    let young = check(&TWO_FAILURES);
    assert_eq!(young.deadline(&POLICY), Some(Millis(10_200)));
    let young = check_from(&POLICY, young, &[(10_199, DEADLINE, None)]);
    assert_eq!(young.failures(), 2);
    let settled = check_from(&POLICY, young, &[(10_200, DEADLINE, None)]);
    assert_eq!(settled.phase(), Phase::Up { run: RUN_3, since: Millis(200), settled: true });
    assert_eq!((settled.failures(), settled.deadline(&POLICY)), (0, None));
    let again = check_from(
        &POLICY,
        settled,
        &[(10_201, failed(RUN_3), kill(RUN_3)), (10_202, gone(RUN_3), spawn(RUN_4))],
    );
    assert_eq!(again.failures(), 1);
}

#[test]
fn a_long_life_counts_at_its_end_even_if_the_deadline_was_never_told() {
    let young = check(&TWO_FAILURES);
    let short = check_from(&POLICY, young, &[(10_199, failed(RUN_3), kill(RUN_3))]);
    assert_eq!(short.failures(), 3);
    let short = check_from(&POLICY, short, &[(10_199, gone(RUN_3), None)]);
    assert_eq!(short.phase(), Phase::Waiting { start_at: Millis(10_399) });
    let long = [(10_200, failed(RUN_3), kill(RUN_3)), (10_200, gone(RUN_3), spawn(RUN_4))];
    assert_eq!(check_from(&POLICY, young, &long).failures(), 1);
}

#[test]
fn the_policy_says_what_follows_an_end() {
    let next = Phase::Starting { run: RUN_2 };
    let cases = [
        (When::Always, failed(RUN_1), next),
        (When::Always, succeeded(RUN_1), next),
        (When::Failure, failed(RUN_1), next),
        (When::Failure, succeeded(RUN_1), Phase::Down),
        (When::Never, failed(RUN_1), Phase::Failed),
        (When::Never, succeeded(RUN_1), Phase::Down),
    ];
    for (when, end, phase) in cases {
        let spawned = if phase == next { spawn(RUN_2) } else { None };
        let early = [
            (0, UP, spawn(RUN_1)),
            (5, end, kill(RUN_1)),
            (6, gone(RUN_1), spawned),
            (7, UP, None),
        ];
        let late = [
            (0, UP, spawn(RUN_1)),
            (1, started(RUN_1), None),
            (5, end, kill(RUN_1)),
            (6, gone(RUN_1), spawned),
            (7, UP, None),
        ];
        for timeline in [&early[..], &late[..]] {
            let instance = check_when(when, timeline);
            assert_eq!(instance.phase(), phase, "{when:?} {end:?}");
            assert_eq!(instance.failures(), u32::from(phase == next), "{when:?} {end:?}");
            assert_eq!(instance.goal(), Goal::Up);
        }
    }
}

#[test]
fn an_ended_instance_starts_again_when_it_is_asked_to() {
    for (when, phase) in
        [(When::Never, Phase::Failed), (When::Failure, Phase::Starting { run: RUN_2 })]
    {
        let mut timeline = alloc::vec![(0, UP, spawn(RUN_1)), (5, failed(RUN_1), kill(RUN_1))];
        let next = if phase == Phase::Failed { None } else { spawn(RUN_2) };
        timeline.push((6, gone(RUN_1), next));
        assert_eq!(check_when(when, &timeline).phase(), phase);
    }
    for ask in [Input::Start, Input::Restart] {
        let instance = check_when(
            When::Never,
            &[
                (0, UP, spawn(RUN_1)),
                (5, failed(RUN_1), kill(RUN_1)),
                (6, gone(RUN_1), None),
                (7, ask, spawn(RUN_2)),
            ],
        );
        assert_eq!(instance.restarts(), 0, "only what ended by itself is counted");
    }
}

#[test]
fn an_obeyed_stop_ends_in_down_after_one_sweep() {
    let instance = check(&[
        (0, UP, spawn(RUN_1)),
        (1, started(RUN_1), None),
        (10, DOWN, stop(RUN_1)),
        (20, succeeded(RUN_1), kill(RUN_1)),
        (21, gone(RUN_1), None),
        (9000, DEADLINE, None),
    ]);
    assert_eq!((instance.phase(), instance.failures()), (Phase::Down, 0));
    assert_eq!(instance.deadline(&POLICY), None);
}

#[test]
fn a_stop_that_is_ignored_ends_in_kills_until_the_run_is_gone() {
    let instance = check(&[
        (0, UP, spawn(RUN_1)),
        (1, started(RUN_1), None),
        (10, DOWN, stop(RUN_1)),
        (5009, DEADLINE, None),
        (5010, DEADLINE, kill(RUN_1)),
        (5010, DEADLINE, None),
        (6009, DEADLINE, None),
        (6010, DEADLINE, kill(RUN_1)),
        (6100, failed(RUN_1), kill(RUN_1)),
        (7099, DEADLINE, None),
        (7100, DEADLINE, kill(RUN_1)),
        (9999, DEADLINE, kill(RUN_1)),
        (10_998, DEADLINE, None),
        (10_999, gone(RUN_1), None),
    ]);
    assert_eq!(instance.phase(), Phase::Down);
}

#[test]
fn a_restart_stops_the_run_and_spawns_the_next_without_backoff() {
    let young = check(&TWO_FAILURES);
    let instance = check_from(
        &POLICY,
        young,
        &[
            (300, Input::Restart, stop(RUN_3)),
            (301, Input::Restart, None),
            (302, Input::Start, None),
            (310, failed(RUN_3), kill(RUN_3)),
            (311, gone(RUN_3), spawn(RUN_4)),
        ],
    );
    assert_eq!(instance.phase(), Phase::Starting { run: RUN_4 });
    assert_eq!((instance.failures(), instance.restarts()), (0, 2));
}

#[test]
fn what_is_wanted_last_counts_while_a_run_ends() {
    for sweep in [false, true] {
        let end = |asks: [Input; 3], next: Option<Action>| {
            let mut timeline = alloc::vec![(0, UP, spawn(RUN_1)), (1, started(RUN_1), None)];
            timeline.push((2, DOWN, stop(RUN_1)));
            if sweep {
                timeline.push((3, failed(RUN_1), kill(RUN_1)));
            }
            timeline.extend(asks.map(|ask| (4, ask, None)));
            if !sweep {
                timeline.push((5, failed(RUN_1), kill(RUN_1)));
            }
            timeline.push((6, gone(RUN_1), next));
            check(&timeline).goal()
        };
        assert_eq!(end([UP, DOWN, UP], spawn(RUN_2)), Goal::Up);
        assert_eq!(end([UP, UP, DOWN], None), Goal::Down);
        assert_eq!(end([DOWN, DOWN, Input::Start], spawn(RUN_2)), Goal::Up);
        assert_eq!(end([DOWN, DOWN, Input::Restart], spawn(RUN_2)), Goal::Up);
        assert_eq!(end([Input::Start, Input::Restart, DOWN], None), Goal::Down);
    }
}

#[test]
fn a_run_that_is_stopped_while_it_starts_may_fail_to_spawn() {
    let stopped = [(0, UP, spawn(RUN_1)), (1, DOWN, stop(RUN_1)), (2, not_spawned(RUN_1), None)];
    assert_eq!(check(&stopped).phase(), Phase::Down);
    let restarted = check(&[
        (0, UP, spawn(RUN_1)),
        (1, Input::Restart, stop(RUN_1)),
        (2, not_spawned(RUN_1), spawn(RUN_2)),
        (3, started(RUN_1), None),
    ]);
    assert_eq!(restarted.phase(), Phase::Starting { run: RUN_2 });
    assert_eq!(restarted.failures(), 0);
}

#[test]
fn an_operators_start_forgets_failures_however_far_the_run_has_ended() {
    let young = check(&TWO_FAILURES);
    let end = [(300, failed(RUN_3), kill(RUN_3)), (301, gone(RUN_3), None)];
    let waiting = check_from(&POLICY, young, &end);
    let sweeping = check_from(&POLICY, young, &end[..1]);
    for (from, start) in [(waiting, spawn(RUN_4)), (sweeping, None)] {
        let instance = check_from(&POLICY, from, &[(302, Input::Start, start)]);
        assert_eq!((from.failures(), instance.failures()), (3, 0));
    }
}

#[test]
fn a_restored_instance_goes_on_where_the_journal_left_it() {
    let since = Millis(40);
    let cases = [
        (Rest::Down, Phase::Down, None),
        (Rest::Failed, Phase::Failed, None),
        (
            Rest::Running { since },
            Phase::Up { run: RUN_3, since, settled: false },
            Some(Millis(10_040)),
        ),
        (Rest::Waiting, Phase::Waiting { start_at: Millis(70) }, Some(Millis(70))),
    ];
    for (rest, phase, deadline) in cases {
        for goal in [Goal::Down, Goal::Up] {
            let memory = Memory {
                goal,
                last_run: RUN_3,
                failures: 2,
                restarts: 7,
                rest,
                ..Memory::default()
            };
            let instance = Instance::restore(memory, Millis(70));
            assert_eq!(instance.phase(), phase);
            assert_eq!(instance.deadline(&POLICY), deadline);
            assert_eq!((instance.goal(), instance.last_run()), (goal, RUN_3));
            assert_eq!((instance.failures(), instance.restarts()), (2, 7));
        }
    }
    assert_eq!(Instance::restore(Memory::default(), Millis(70)), Instance::default());
}

#[test]
fn a_restored_run_that_is_gone_is_followed_by_the_next_number() {
    let rest = Rest::Running { since: Millis(0) };
    let memory = Memory { goal: Goal::Up, last_run: RUN_2, rest, ..Memory::default() };
    let instance = Instance::restore(memory, Millis(9));
    let end = [(9, failed(RUN_2), kill(RUN_2)), (9, gone(RUN_2), spawn(RUN_3))];
    assert_eq!(check_from(&POLICY, instance, &end).restarts(), 1);
}

#[test]
fn a_restored_wait_is_over_at_once_and_a_restored_goal_stops_what_runs() {
    let memory = |goal, rest| Memory { goal, last_run: RUN_2, rest, ..Memory::default() };
    let waiting = Instance::restore(memory(Goal::Up, Rest::Waiting), Millis(9));
    check_from(&POLICY, waiting, &[(9, DEADLINE, spawn(RUN_3))]);
    let running = memory(Goal::Down, Rest::Running { since: Millis(0) });
    let running = Instance::restore(running, Millis(9));
    check_from(&POLICY, running, &[(9, DOWN, stop(RUN_2))]);
}

#[test]
fn a_first_run_that_a_dead_keeper_owes_is_no_restart() {
    let owed = Memory { goal: Goal::Up, rest: Rest::Waiting, ..Memory::default() };
    let timeline: Timeline<'_> = &[(9, DEADLINE, spawn(RUN_1))];
    let instance = check_from(&POLICY, Instance::restore(owed, Millis(9)), timeline);
    assert_eq!((instance.last_run(), instance.restarts()), (RUN_1, 0));
}

#[test]
fn phases_have_the_names_that_people_and_scripts_see() {
    let (run, kill_at, after) = (RUN_1, Millis(0), After::Down);
    let cases = [
        (Phase::Down, "down", None),
        (Phase::Failed, "failed", None),
        (Phase::Starting { run }, "starting", Some(run)),
        (Phase::Stopping { run, kill_at, after }, "stopping", Some(run)),
        (Phase::Sweeping { run, kill_at, after }, "stopping", Some(run)),
        (Phase::Up { run, since: Millis(0), settled: true }, "up", Some(run)),
        (Phase::Waiting { start_at: Millis(0) }, "waiting", None),
    ];
    for (phase, name, run) in cases {
        assert_eq!(phase.name().as_str(), name);
        assert_eq!(serde_json::to_value(phase.name()).unwrap(), name);
        assert_eq!(phase.run(), run, "{name}");
    }
}
