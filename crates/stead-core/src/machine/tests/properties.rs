//! What holds after any sequence of inputs. `PROPTEST_CASES` raises how many are tried.

use super::world::{Move, World};
use super::*;
use alloc::vec::Vec;
use proptest::collection::vec;
use proptest::prelude::*;

/// Without `PROPTEST_CASES`, or with a smaller one.
const CASES: u32 = 400;
const MOVES_MAX: usize = 100;

fn config() -> ProptestConfig {
    let default = ProptestConfig::default();
    // What is found becomes a timeline with a name, not a file of seeds.
    ProptestConfig { cases: default.cases.max(CASES), failure_persistence: None, ..default }
}

fn any_roll() -> impl Strategy<Value = u32> {
    prop_oneof![Just(0), Just(u32::MAX), any::<u32>()]
}

fn any_when() -> impl Strategy<Value = When> {
    prop_oneof![Just(When::Always), Just(When::Failure), Just(When::Never)]
}

fn any_ask() -> impl Strategy<Value = Input> {
    prop_oneof![
        Just(Input::Replace),
        Just(Input::Restart),
        Just(Input::Start),
        Just(DOWN),
        Just(UP),
    ]
}

/// Without crashes of the keeper.
fn any_move() -> impl Strategy<Value = Move> {
    prop_oneof![
        6 => (any::<bool>(), any_roll()).prop_map(|(success, roll)| Move::Next { success, roll }),
        2 => any_ask().prop_map(Move::Ask),
        2 => any::<bool>().prop_map(|leaves_behind| Move::Die { leaves_behind }),
        1 => any_roll().prop_map(|roll| Move::SpawnFails { roll }),
        2 => Just(Move::Beside),
        1 => any_roll().prop_map(|roll| Move::Unhealthy { roll }),
        1 => any::<usize>().prop_map(|which| Move::SayAgain { which }),
        1 => (0..15_000_u64).prop_map(|ms| Move::Wait { ms }),
        1 => Just(Move::WaitForDeadline),
        2 => Just(Move::Deadline),
    ]
}

fn any_move_or_crash() -> impl Strategy<Value = Move> {
    prop_oneof![
        8 => any_move(),
        1 => Just(Move::Crash),
        1 => Just(Move::CrashAtNextInput),
    ]
}

/// Every move is checked by the world as it is made.
fn world_after(when: When, moves: Vec<Move>) -> World {
    let restart = Restart { when, ..POLICY.restart };
    let mut world = World::new(Policy { restart, ..POLICY });
    world.make(Move::Ask(UP));
    for a_move in moves {
        world.make(a_move);
    }
    world
}

fn ends_as_wanted(mut world: World, deaf: bool) -> Result<(), TestCaseError> {
    world.behave(deaf);
    match world.instance.goal() {
        Goal::Down => prop_assert_eq!(world.instance.phase(), Phase::Down),
        Goal::Up => {
            let is_up = matches!(world.instance.phase(), Phase::Up { .. });
            prop_assert!(is_up, "{:?}", world);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn what_is_always_wanted_up_comes_up_and_what_is_wanted_down_goes_down(
        moves in vec(any_move(), 0..MOVES_MAX),
        deaf: bool,
    ) {
        ends_as_wanted(world_after(When::Always, moves), deaf)?;
    }

    #[test]
    fn no_crash_of_the_keeper_changes_what_becomes_of_what_is_wanted(
        moves in vec(any_move_or_crash(), 0..MOVES_MAX),
        deaf: bool,
    ) {
        ends_as_wanted(world_after(When::Always, moves), deaf)?;
    }

    #[test]
    fn a_start_that_was_asked_for_is_never_lost_whatever_the_policy(
        when in any_when(),
        moves in vec(any_move_or_crash(), 0..MOVES_MAX),
        deaf: bool,
    ) {
        let mut world = world_after(when, moves);
        world.behave(deaf);
        prop_assert!(!world.start_owed, "{:?}", world);
        let asked_down = world.instance.goal() == Goal::Down;
        prop_assert!(!asked_down || world.instance.phase() == Phase::Down, "{:?}", world);
    }

    #[test]
    fn a_last_word_is_always_obeyed(
        when in any_when(),
        moves in vec(any_move_or_crash(), 0..MOVES_MAX),
        deaf: bool,
        last in any_ask(),
    ) {
        let mut world = world_after(when, moves);
        world.behave(deaf);
        let before = world.instance;
        world.ask(last);
        world.behave(deaf);
        let after = world.instance;
        if last == DOWN {
            prop_assert_eq!(after.phase(), Phase::Down);
        } else if last == UP && before.goal() == Goal::Up {
            prop_assert_eq!(after, before);
        } else {
            prop_assert!(matches!(after.phase(), Phase::Up { .. }), "{:?}", world);
        }
        let fresh = matches!(last, Input::Replace | Input::Restart);
        prop_assert!(!fresh || after.last_run() > before.last_run());
    }
}

fn any_run() -> impl Strategy<Value = RunId> {
    prop_oneof![8 => 0..8_u64, 1 => any::<u64>()].prop_map(RunId)
}

/// Anything at all, true or not.
fn any_input() -> impl Strategy<Value = Input> {
    prop_oneof![
        3 => Just(DEADLINE),
        3 => any_ask(),
        3 => (any_run(), any::<bool>(), any_roll())
            .prop_map(|(run, success, roll)| Input::Exited { run, success, roll }),
        2 => any_run().prop_map(gone),
        1 => (any_run(), any_roll()).prop_map(|(run, roll)| Input::SpawnFailed { run, roll }),
        2 => any_run().prop_map(started),
        2 => any_run().prop_map(|run| Input::Ready { run }),
        1 => (any_run(), any_roll()).prop_map(|(run, roll)| Input::Unhealthy { run, roll }),
    ]
}

fn any_duration() -> impl Strategy<Value = Duration> {
    let ms = prop_oneof![Just(0), 0..10_000_u64, Just(u64::MAX), any::<u64>()];
    ms.prop_map(Duration::from_millis)
}

prop_compose! {
    fn any_policy()(
        when in any_when(),
        backoff_min in any_duration(),
        backoff_max in any_duration(),
        reset_after in any_duration(),
        stop_timeout in any_duration(),
        replace_within in any_duration(),
        run_timeout in proptest::option::of(any_duration()),
    ) -> Policy {
        let restart = Restart { when, backoff_min, backoff_max, reset_after };
        Policy { restart, stop_timeout, replace_within, run_timeout }
    }
}

prop_compose! {
    fn any_memory()(
        goal in prop_oneof![Just(Goal::Down), Just(Goal::Up)],
        // No instance lives to see the last number.
        last_run in (0..4_u64).prop_map(RunId),
        failures: u32,
        restarts in 0..u64::MAX / 2,
        rest in prop_oneof![
            Just(Rest::Down),
            Just(Rest::Failed),
            any::<u64>().prop_map(|since| Rest::Running { since: Millis(since) }),
            Just(Rest::Waiting),
        ],
    ) -> Memory {
        Memory { goal, last_run, failures, restarts, rest, ..Memory::default() }
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_world_that_lies_is_survived(
        memory in any_memory(),
        policies in [any_policy(), any_policy()],
        timeline in vec((0..2_usize, any::<u64>(), any_input()), 0..MOVES_MAX),
    ) {
        let mut instance = Instance::restore(memory, Millis(0));
        for (which, at_ms, input) in timeline {
            let policy = policies[which];
            let before = instance;
            let action;
            (instance, action) = step(&policy, instance, input, Millis(at_ms));
            let spawned = matches!(action, Some(Action::Spawn { .. }));
            let next = before.last_run().0 + u64::from(spawned);
            prop_assert_eq!(instance.last_run(), RunId(next));
            let starting = Phase::Starting { run: RunId(next) };
            let coming = instance.beside().is_some_and(|beside| beside.run() == RunId(next));
            prop_assert!(!spawned || coming || instance.phase() == starting);
            let deadline = instance.deadline(&policy);
            let must_end = matches!(
                instance.phase(),
                Phase::Stopping { .. } | Phase::Sweeping { .. } | Phase::Waiting { .. }
            );
            prop_assert!(!must_end || deadline.is_some(), "{:?}", instance);
        }
    }

    /// Otherwise a keeper would turn round and round.
    #[test]
    fn a_deadline_that_was_told_is_not_due_again_at_once(
        memory in any_memory(),
        policy in any_policy(),
        timeline in vec((0..10_000_u64, any_input()), 0..MOVES_MAX),
    ) {
        let mut now = Millis(0);
        let mut instance = Instance::restore(memory, now);
        for (wait_ms, input) in timeline {
            now = now + Duration::from_millis(wait_ms);
            (instance, _) = step(&policy, instance, input, now);
            // Two for each run: one that takes too long or is given up is asked to end, and killed
            // at once where the policy gives it no time.
            for _ in 0..4 {
                (instance, _) = step(&policy, instance, DEADLINE, now);
            }
            let deadline = instance.deadline(&policy);
            prop_assert!(deadline.is_none_or(|deadline| deadline > now), "{:?}", instance);
        }
    }

    #[test]
    fn jitter_takes_away_up_to_half_and_more_failures_never_wait_less(
        policy in any_policy(),
        failures in prop_oneof![0..80_u32, any::<u32>()],
        roll in any_roll(),
    ) {
        let restart = policy.restart;
        let whole = backoff(&restart, failures, 0);
        let waited = backoff(&restart, failures, roll);
        prop_assert!(whole / 2 <= waited && waited <= whole);
        prop_assert!(whole <= restart.backoff_max);
        prop_assert!(whole <= backoff(&restart, failures.saturating_add(1), 0));
    }
}
