//! What is kept, by tables and by chance.

use alloc::format;
use alloc::string::String;

use proptest::prelude::*;

use super::*;
use crate::launch::{HostSide, launch};
use crate::names::SecretName;
use crate::plan::SecretRef;
use crate::template::{Places, Template};

/// A digest that stands for a small number.
fn digest(n: u8) -> Digest {
    Digest::try_from(format!("{n:064x}")).unwrap()
}

/// A spec with this release, the configuration of the next number, and the secret after that.
fn spec(n: u8) -> Spec {
    let name: SecretName = "s".parse().unwrap();
    Spec {
        release: Some(digest(n)),
        config: Some(digest(n + 64)),
        secrets: [(String::from("S"), SecretRef { name, id: digest(n + 128) })].into(),
        ..Spec::of(alloc::vec![Template::literal("x")])
    }
}

/// A plan of services, each with its number.
fn plan(services: &[(&str, u8)]) -> Plan {
    let instance = |(service, n): &(&str, u8)| (format!("{service}.0").parse().unwrap(), spec(*n));
    Plan {
        fleet: "shop".parse().unwrap(),
        host: "local".parse().unwrap(),
        instances: services.iter().map(instance).collect(),
    }
}

fn past(plan: Plan) -> Past {
    Past { plan, is_reverted: false }
}

fn goes_by(instance: &str, n: u8, is_settled: bool) -> GoesBy {
    let instance: InstanceName = instance.parse().unwrap();
    let ports = BTreeMap::new();
    let places = Places { config: "", data: "", kit: "", ports: &ports, release: "", tmp: "" };
    let env = BTreeMap::new();
    let host = HostSide { places, account: None, env, isolates: false, secrets: "/r/secrets" };
    let launches = alloc::vec![launch(&instance, &spec(n), host)];
    GoesBy { instance, launches, is_settled }
}

/// The numbers of the releases that are kept, once the rest is kept alike.
#[track_caller]
fn numbers(kept: &Kept) -> Vec<u8> {
    let all = 0..64;
    let numbers: Vec<u8> = all.filter(|n| kept.releases.contains(&digest(*n))).collect();
    let of = |off: u8| numbers.iter().map(|n| digest(n + off)).collect::<BTreeSet<_>>();
    assert_eq!((&kept.configs, &kept.secrets), (&of(64), &of(128)));
    numbers
}

#[test]
fn the_last_states_of_each_service_are_kept_however_many_entries_they_have() {
    let now = plan(&[("web", 9), ("db", 20)]);
    // Nine deploys of `web`, each of them noted twice, beside a `db` that stays as it is.
    let history =
        (1..=9).rev().flat_map(|n| [(); 2].map(|()| past(plan(&[("web", n), ("db", 20)]))));
    let kept = Kept::of([&now], &[], history);
    assert_eq!(numbers(&kept), [5, 6, 7, 8, 9, 20]);
}

#[test]
fn a_service_that_left_can_be_brought_back() {
    let history = [plan(&[("web", 3)]), plan(&[("web", 2), ("old", 30)])].map(past);
    assert_eq!(numbers(&Kept::of([&plan(&[("web", 3)])], &[], history)), [2, 3, 30]);
}

#[test]
fn what_is_staged_and_the_way_back_are_kept_though_no_entry_has_them() {
    let plans = [plan(&[("web", 1)]), plan(&[("web", 2)]), plan(&[("web", 3)])];
    assert_eq!(numbers(&Kept::of(&plans, &[], [])), [1, 2, 3]);
}

#[test]
fn a_run_keeps_what_it_goes_by_and_all_of_its_service_while_that_is_not_known() {
    let now = plan(&[("web", 30), ("db", 60)]);
    let history = || {
        let reverted = Past { is_reverted: true, ..past(plan(&[("web", 33)])) };
        let kept = (1..=30).rev().map(|n| past(plan(&[("web", n), ("db", n + 30)])));
        [reverted].into_iter().chain(kept)
    };
    let of = |run| numbers(&Kept::of([&now], &[run], history()));
    let last: Vec<u8> = (26..=30).chain(56..=60).collect();
    assert_eq!(of(goes_by("web.0", 30, true)), last);
    assert_eq!(of(goes_by("web.0", 7, true)), [&[7][..], &last].concat());
    let all: Vec<u8> = (1..=30).chain([33]).chain(56..=60).collect();
    assert_eq!(of(goes_by("web.0", 30, false)), all);
}

proptest! {
    #[test]
    fn nothing_that_is_needed_goes_and_what_stays_has_a_bound(
        now in 0_u8..60,
        staged in proptest::option::of(0_u8..60),
        run in 0_u8..60,
        is_settled: bool,
        history in proptest::collection::vec((0_u8..60, any::<bool>()), 0..40),
    ) {
        let plans = [Some(now), staged].into_iter().flatten().map(|n| plan(&[("web", n)]));
        let plans: Vec<Plan> = plans.collect();
        let past = |(n, is_reverted): &(u8, bool)| {
            Past { plan: plan(&[("web", *n)]), is_reverted: *is_reverted }
        };
        let of = |history: &[(u8, bool)]| {
            let runs = [goes_by("web.0", run, is_settled)];
            numbers(&Kept::of(&plans, &runs, history.iter().map(past)))
        };
        let kept = of(&history);
        prop_assert!(kept.contains(&now) && kept.contains(&run));
        prop_assert!(staged.is_none_or(|staged| kept.contains(&staged)));
        // Each of the last entries is there to go back to.
        let mut last = history.iter().filter(|(_, is_reverted)| !is_reverted).take(KEEP);
        prop_assert!(last.all(|(n, _)| kept.contains(n)));
        if is_settled {
            prop_assert!(kept.len() <= KEEP + 3);
        } else {
            prop_assert!(history.iter().all(|(n, _)| kept.contains(n)));
        }
        // What is told of more of the past is never told less.
        let fewer = of(&history[..history.len() / 2]);
        prop_assert!(fewer.iter().all(|n| kept.contains(n)));
    }
}
