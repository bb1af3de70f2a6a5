//! What is asked in which order. What holds under faults is shown by `stead-sim`.

use super::*;
use alloc::format;
use alloc::string::ToString;
use alloc::vec;
use core::time::Duration;

use crate::rollout::{HostRefusal, Part};

const SECOND: Duration = Duration::from_secs(1);

fn pace() -> Pace {
    Pace {
        canary: 1,
        wave: Wave::Count(2),
        unavailable_max: usize::MAX,
        unreachable_max: 0,
        bake: SECOND,
        ready_within: 5 * SECOND,
        commit_within: 20 * SECOND,
    }
}

fn seats(ranks: &[usize]) -> Vec<Seat> {
    let seat = |(n, rank): (usize, &usize)| Seat {
        name: format!("h{n}"),
        rank: *rank,
        found: Ok(Part::None),
    };
    ranks.iter().enumerate().map(seat).collect()
}

/// Answers everything at once, by what is said, and writes down what was asked but for looks and
/// signs of life.
fn drive(
    mut operator: Operator,
    mut answer: impl FnMut(&Errand, Duration) -> Answer,
) -> (Operator, Vec<String>) {
    let (mut now, mut asked) = (Duration::ZERO, Vec::new());
    while operator.ends().is_none() {
        let errands = operator.next(now);
        let told = |errand: &Errand| {
            let Errand { host, order, .. } = errand;
            let is_quiet = matches!(order, Order::Keep | Order::Look | Order::LookBack);
            (!is_quiet).then(|| format!("h{host} {order:?}").replace(" { resume: false }", ""))
        };
        let line: Vec<String> = errands.iter().filter_map(told).collect();
        if !line.is_empty() {
            asked.push(line.join(", "));
        }
        for errand in errands {
            let answer = answer(&errand, now);
            operator.heard(now, errand.host, errand.token, answer);
        }
        now += Duration::from_millis(100);
        assert!(now < 100 * SECOND, "it does not end: {asked:?}");
    }
    (operator, asked)
}

/// What a host answers with which all is well.
fn well(errand: &Errand) -> Answer {
    let held = |stage| Answer::Taken(Part::Held(stage));
    match errand.order {
        Order::Claim { .. } => held(HostStage::Claimed),
        Order::Stage => held(HostStage::Staged),
        Order::Switch | Order::Keep => held(HostStage::Switched),
        Order::Commit => held(HostStage::Committed),
        Order::Look | Order::LookBack => Answer::Looked(Gated::Passed),
        Order::Revert { .. } => {
            held(HostStage::Reverted { why: "x".to_string(), by_itself: false })
        }
    }
}

#[test]
fn hosts_are_switched_canary_first_then_wave_by_wave_what_others_need_before_them() {
    let operator = Operator::new(Begin::New, pace(), seats(&[1, 0, 0, 0, 1]));
    let (operator, asked) = drive(operator, |errand, _| well(errand));
    let all = |order: &str| (0..5).map(|n| format!("h{n} {order}")).collect::<Vec<_>>().join(", ");
    let switched = ["h1 Switch", "h2 Switch, h3 Switch", "h0 Switch, h4 Switch"];
    let expected = [all("Claim"), all("Stage")].into_iter();
    let expected = expected.chain(switched.map(ToString::to_string)).chain([all("Commit")]);
    assert_eq!(asked, expected.collect::<Vec<_>>());
    assert_eq!(operator.ends().unwrap(), vec![Ended::New; 5]);
}

#[test]
fn a_gate_that_fails_brings_back_every_host_that_was_switched_and_no_other_is() {
    let operator = Operator::new(Begin::New, pace(), seats(&[0; 4]));
    let (operator, asked) =
        drive(operator, |errand, _| match errand.order == Order::Look && errand.host == 2 {
            true => Answer::Looked(Gated::Failed("it ended".to_string())),
            false => well(errand),
        });
    let revert = |n| format!("h{n} Revert {{ why: \"host `h2`: it ended\" }}");
    assert_eq!(asked[2..4], ["h0 Switch", "h1 Switch, h2 Switch"]);
    assert_eq!(asked[4], [0, 1, 2, 3].map(revert).join(", "));
    assert_eq!(asked.len(), 5);
    assert_eq!(operator.why(), Some(&Why::Host(2, "it ended".to_string())));
    assert_eq!(operator.ends().unwrap(), vec![Ended::Old(AS_IT_WAS.to_string()); 4]);
}

#[test]
fn at_most_so_many_hosts_of_a_wave_are_on_their_way_to_ready() {
    let pace = Pace { canary: 0, wave: Wave::Percent(100), unavailable_max: 2, ..pace() };
    let mut switched_at = [None; 5];
    let operator = Operator::new(Begin::New, pace, seats(&[0; 5]));
    let (operator, _) = drive(operator, |errand, now| {
        if errand.order == Order::Switch {
            switched_at[errand.host] = Some(now);
        }
        let is_ready = |at: &Option<Duration>| at.is_none_or(|at| at + SECOND <= now);
        assert!(switched_at.iter().filter(|at| !is_ready(at)).count() <= 2);
        match errand.order == Order::Look && !is_ready(&switched_at[errand.host]) {
            true => Answer::Looked(Gated::Pending("not yet".to_string())),
            false => well(errand),
        }
    });
    assert_eq!(operator.ends().unwrap(), vec![Ended::New; 5]);
}

#[test]
fn what_is_not_ready_in_time_fails_and_says_after_how_long() {
    let operator = Operator::new(Begin::New, pace(), seats(&[0]));
    let (operator, _) = drive(operator, |errand, _| match errand.order == Order::Look {
        true => Answer::Looked(Gated::Pending("`web` is starting".to_string())),
        false => well(errand),
    });
    let why = "`web` is starting, after 5 s".to_string();
    assert_eq!(operator.why(), Some(&Why::Host(0, why)));
}

#[test]
fn a_host_that_cannot_be_reached_is_left_out_only_if_that_is_allowed() {
    for (unreachable_max, is_new) in [(0, false), (1, true)] {
        let pace = Pace { unreachable_max, ..pace() };
        let operator = Operator::new(Begin::New, pace, seats(&[0; 3]));
        let (operator, _) = drive(operator, |errand, _| match errand.host {
            1 => Answer::Lost("no route".to_string()),
            _ => well(errand),
        });
        let ends = operator.ends().unwrap();
        assert_eq!(ends[0] == Ended::New, is_new, "{ends:?}");
        assert!(matches!(&ends[1], Ended::Old(_)), "{ends:?}");
    }
}

#[test]
fn a_commit_that_is_lost_is_asked_again_and_none_is_taken_back_after_the_first() {
    let mut lost_n = 0;
    let operator = Operator::new(Begin::New, pace(), seats(&[0; 2]));
    let is_bad = |errand: &Errand| errand.order == Order::Commit && errand.host == 1;
    let (operator, asked) = drive(operator, |errand, _| match is_bad(errand) && lost_n < 3 {
        true => {
            lost_n += 1;
            Answer::Lost("it broke".to_string())
        }
        false => well(errand),
    });
    assert_eq!(operator.ends().unwrap(), [Ended::New, Ended::New]);
    assert!(asked.iter().all(|line| !line.contains("Revert")), "{asked:?}");
    // One that never answers is not known, and the others have it for good.
    let operator = Operator::new(Begin::New, pace(), seats(&[0; 2]));
    let (operator, asked) = drive(operator, |errand, _| match is_bad(errand) {
        true => Answer::Lost("it broke".to_string()),
        false => well(errand),
    });
    let unknown = Ended::Unknown("it broke".to_string());
    assert_eq!(operator.ends().unwrap(), [Ended::New, unknown]);
    assert!(asked.iter().all(|line| !line.contains("Revert")), "{asked:?}");
}

#[test]
fn an_operator_that_was_overtaken_asks_nothing_more() {
    let operator = Operator::new(Begin::New, pace(), seats(&[0; 3]));
    let (operator, asked) =
        drive(operator, |errand, now| match errand.order == Order::Keep && now > SECOND {
            true => Answer::Refused(HostRefusal::Stale { epoch: 9 }),
            false => well(errand),
        });
    assert!(!asked.last().unwrap().contains("Revert"), "{asked:?}");
    let unknown = Ended::Unknown("another operator has taken over".to_string());
    assert_eq!(operator.ends().unwrap(), vec![unknown; 3]);
}
