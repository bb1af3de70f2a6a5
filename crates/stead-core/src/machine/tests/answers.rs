//! What every phase answers to every input: nothing is left to chance.

use super::*;

/// An input, what is done about it and the instance after it.
type Answer = (Input, Option<Action>, Instance);

const NOW: Millis = Millis(1000);
const SINCE: Millis = Millis(500);
const DUE: Millis = NOW;

/// `RUN_2` is the last run; it is the third failure in a row if it fails, thus 400 ms of backoff.
fn at(goal: Goal, phase: Phase) -> Instance {
    Instance { goal, phase, last_run: RUN_2, failures: 3, restarts: 5, beside: None }
}

/// The same instance with its next run spawned, because somebody asked for it.
fn asked(from: Instance) -> Instance {
    let phase = Phase::Starting { run: RUN_3 };
    Instance { goal: Goal::Up, phase, last_run: RUN_3, failures: 0, ..from }
}

fn with(from: Instance, phase: Phase) -> Instance {
    Instance { phase, ..from }
}

/// Every input that says something about a run.
fn about(run: RunId) -> [Input; 7] {
    let (ready, unhealthy) = (Input::Ready { run }, Input::Unhealthy { run, roll: 0 });
    [failed(run), succeeded(run), gone(run), not_spawned(run), started(run), ready, unhealthy]
}

/// Which row of a table an input belongs to.
fn row(input: &Input) -> usize {
    match input {
        Input::DeadlinePassed => 0,
        Input::Exited { .. } => 1,
        Input::Gone { .. } => 2,
        Input::Restart => 3,
        Input::SpawnFailed { .. } => 4,
        Input::Start => 5,
        Input::Started { .. } => 6,
        Input::Want(Goal::Down) => 7,
        Input::Want(Goal::Up) => 8,
        Input::Ready { .. } | Input::Replace | Input::Resume | Input::Unhealthy { .. } => 9,
    }
}

/// The answers of an instance with nothing beside it to what concerns a replacement or its health:
/// only one that is up has answers of its own.
fn health_answers(from: Instance, restart: (Instance, Option<Action>)) {
    let ready = step(&POLICY, from, Input::Ready { run: RUN_2 }, NOW);
    assert_eq!(ready, (from, None), "{from:?} when ready");
    let (replaced, stopped) = match from.phase {
        Phase::Up { .. } => {
            let give_up_at = Millis(21_000);
            let coming = Beside::Coming { run: RUN_3, started: false, give_up_at };
            let wait = After::Wait { until: Millis(1400) };
            let stopping = Phase::Stopping { run: RUN_2, kill_at: Millis(6000), after: wait };
            (
                (Instance { last_run: RUN_3, beside: Some(coming), ..from }, spawn(RUN_3)),
                (Instance { failures: 4, ..with(from, stopping) }, stop(RUN_2)),
            )
        }
        Phase::Down
        | Phase::Failed
        | Phase::Starting { .. }
        | Phase::Stopping { .. }
        | Phase::Sweeping { .. }
        | Phase::Waiting { .. } => (restart, (from, None)),
    };
    assert_eq!(step(&POLICY, from, Input::Replace, NOW), replaced, "{from:?} when replaced");
    let unhealthy = Input::Unhealthy { run: RUN_2, roll: 0 };
    assert_eq!(step(&POLICY, from, unhealthy, NOW), stopped, "{from:?} when unhealthy");
}

/// Checks a table with a row for every kind of input, and that no other run is taken for `RUN_2`.
fn answers(from: Instance, table: &[Answer; 9]) {
    for (number, (input, action, after)) in table.iter().enumerate() {
        assert_eq!(row(input), number, "the table of {from:?} is out of order at {input:?}");
        assert_eq!(step(&POLICY, from, *input, NOW), (*after, *action), "{from:?} at {input:?}");
    }
    let (_, action, after) = table[3];
    health_answers(from, (after, action));
    // Nothing begins and nothing goes on that would not have without it.
    let resumed = Instance { goal: Goal::Up, ..from };
    assert_eq!(step(&POLICY, from, Input::Resume, NOW), (resumed, None), "{from:?} resumed");
    for run in [RunId(0), RUN_1, RUN_3, RunId(u64::MAX)] {
        for input in about(run) {
            assert_eq!(step(&POLICY, from, input, NOW), (from, None), "{from:?} at {input:?}");
        }
    }
    if let Some(deadline) = from.deadline(&POLICY) {
        let early = Millis(deadline.0 - 1);
        assert_eq!(step(&POLICY, from, DEADLINE, early), (from, None), "{from:?} too early");
    }
}

#[test]
fn down_and_failed_answer_only_to_being_wanted_up() {
    for (goal, phase) in
        [(Goal::Down, Phase::Down), (Goal::Up, Phase::Down), (Goal::Up, Phase::Failed)]
    {
        let from = at(goal, phase);
        let spawned = (spawn(RUN_3), asked(from));
        let wanted_up = if goal == Goal::Up { (None, from) } else { spawned };
        answers(
            from,
            &[
                (DEADLINE, None, from),
                (failed(RUN_2), None, from),
                (gone(RUN_2), None, from),
                (Input::Restart, spawned.0, spawned.1),
                (not_spawned(RUN_2), None, from),
                (Input::Start, spawned.0, spawned.1),
                (started(RUN_2), None, from),
                (DOWN, None, at(Goal::Down, Phase::Down)),
                (UP, wanted_up.0, wanted_up.1),
            ],
        );
    }
}

#[test]
fn starting_answers_to_everything_but_a_deadline() {
    let from = at(Goal::Up, Phase::Starting { run: RUN_2 });
    let wait = After::Wait { until: Millis(1400) };
    let swept = Phase::Sweeping { run: RUN_2, kill_at: Millis(2000), after: wait };
    let waiting = Phase::Waiting { start_at: Millis(1400) };
    let stopping = |after| Phase::Stopping { run: RUN_2, kill_at: Millis(6000), after };
    let up = Phase::Up { run: RUN_2, since: NOW, settled: false };
    answers(
        from,
        &[
            (DEADLINE, None, from),
            (failed(RUN_2), kill(RUN_2), Instance { failures: 4, ..with(from, swept) }),
            (gone(RUN_2), None, from),
            (
                Input::Restart,
                stop(RUN_2),
                Instance { failures: 0, ..with(from, stopping(After::Start)) },
            ),
            (not_spawned(RUN_2), None, Instance { failures: 4, ..with(from, waiting) }),
            (Input::Start, None, from),
            (started(RUN_2), None, with(from, up)),
            (DOWN, stop(RUN_2), at(Goal::Down, stopping(After::Down))),
            (UP, None, from),
        ],
    );
}

#[test]
fn up_answers_to_its_end_and_to_stops() {
    for settled in [false, true] {
        let from = at(Goal::Up, Phase::Up { run: RUN_2, since: SINCE, settled });
        let wait = After::Wait { until: Millis(1400) };
        let swept = Phase::Sweeping { run: RUN_2, kill_at: Millis(2000), after: wait };
        let stopping = |after| Phase::Stopping { run: RUN_2, kill_at: Millis(6000), after };
        answers(
            from,
            &[
                (DEADLINE, None, from),
                (failed(RUN_2), kill(RUN_2), Instance { failures: 4, ..with(from, swept) }),
                (gone(RUN_2), None, from),
                (
                    Input::Restart,
                    stop(RUN_2),
                    Instance { failures: 0, ..with(from, stopping(After::Start)) },
                ),
                (not_spawned(RUN_2), None, from),
                (Input::Start, None, from),
                (started(RUN_2), None, from),
                (DOWN, stop(RUN_2), at(Goal::Down, stopping(After::Down))),
                (UP, None, from),
            ],
        );
    }
}

#[test]
fn stopping_changes_only_what_comes_after_until_its_run_ends() {
    for (goal, after) in [(Goal::Down, After::Down), (Goal::Up, After::Start)] {
        let stopping = |after| Phase::Stopping { run: RUN_2, kill_at: DUE, after };
        let from = at(goal, stopping(after));
        let killed = Phase::Stopping { run: RUN_2, kill_at: Millis(2000), after };
        let swept = Phase::Sweeping { run: RUN_2, kill_at: Millis(2000), after };
        let to_start =
            Instance { goal: Goal::Up, failures: 0, ..with(from, stopping(After::Start)) };
        let never_was = match after {
            After::Start => {
                let phase = Phase::Starting { run: RUN_3 };
                (spawn(RUN_3), Instance { last_run: RUN_3, ..with(from, phase) })
            }
            After::Down | After::Failed | After::Wait { .. } => (None, with(from, Phase::Down)),
        };
        answers(
            from,
            &[
                (DEADLINE, kill(RUN_2), with(from, killed)),
                (failed(RUN_2), kill(RUN_2), with(from, swept)),
                (gone(RUN_2), None, from),
                (Input::Restart, None, to_start),
                (not_spawned(RUN_2), never_was.0, never_was.1),
                (Input::Start, None, to_start),
                (started(RUN_2), None, from),
                (DOWN, None, at(Goal::Down, stopping(After::Down))),
                (UP, None, if goal == Goal::Up { from } else { to_start }),
            ],
        );
    }
}

#[test]
fn sweeping_changes_only_what_comes_after_until_the_tree_is_gone() {
    let spawned = Phase::Starting { run: RUN_3 };
    let later = Millis(1001);
    for (goal, after, action, phase, restarts) in [
        (Goal::Down, After::Down, None, Phase::Down, 5),
        (Goal::Up, After::Down, None, Phase::Down, 5),
        (Goal::Up, After::Failed, None, Phase::Failed, 5),
        (Goal::Up, After::Start, spawn(RUN_3), spawned, 5),
        (Goal::Up, After::Wait { until: NOW }, spawn(RUN_3), spawned, 6),
        (Goal::Up, After::Wait { until: later }, None, Phase::Waiting { start_at: later }, 5),
    ] {
        let sweeping = |after| Phase::Sweeping { run: RUN_2, kill_at: DUE, after };
        let from = at(goal, sweeping(after));
        let killed = Phase::Sweeping { run: RUN_2, kill_at: Millis(2000), after };
        let last_run = if action.is_some() { RUN_3 } else { RUN_2 };
        let to_start =
            Instance { goal: Goal::Up, failures: 0, ..with(from, sweeping(After::Start)) };
        answers(
            from,
            &[
                (DEADLINE, kill(RUN_2), with(from, killed)),
                (failed(RUN_2), None, from),
                (gone(RUN_2), action, Instance { last_run, restarts, ..with(from, phase) }),
                (Input::Restart, None, to_start),
                (not_spawned(RUN_2), None, from),
                (Input::Start, None, to_start),
                (started(RUN_2), None, from),
                (DOWN, None, at(Goal::Down, sweeping(After::Down))),
                (UP, None, if goal == Goal::Up { from } else { to_start }),
            ],
        );
    }
}

#[test]
fn waiting_answers_to_its_deadline_and_to_being_wanted() {
    let from = at(Goal::Up, Phase::Waiting { start_at: DUE });
    let due = Instance { failures: 3, restarts: 6, ..asked(from) };
    answers(
        from,
        &[
            (DEADLINE, spawn(RUN_3), due),
            (failed(RUN_2), None, from),
            (gone(RUN_2), None, from),
            (Input::Restart, spawn(RUN_3), asked(from)),
            (not_spawned(RUN_2), None, from),
            (Input::Start, spawn(RUN_3), asked(from)),
            (started(RUN_2), None, from),
            (DOWN, None, at(Goal::Down, Phase::Down)),
            (UP, None, from),
        ],
    );
}
