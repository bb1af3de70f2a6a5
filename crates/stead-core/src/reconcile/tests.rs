//! What a host is told to do, in tables.

use super::*;
use alloc::format;
use alloc::string::ToString;
use alloc::vec;

use crate::plan::Umask;

mod converges;

fn name(text: &str) -> InstanceName {
    text.parse().unwrap()
}

fn services(texts: &[&str]) -> Vec<ServiceName> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn spec(needs: &[&str]) -> Spec {
    Spec { needs: services(needs), ..Spec::of(vec!["./run".parse().unwrap()]) }
}

/// Instances and the services each one needs.
fn plan(instances: &[(&str, &[&str])]) -> Plan {
    Plan {
        fleet: "shop".parse().unwrap(),
        host: "vm1".parse().unwrap(),
        instances: instances.iter().map(|(text, needs)| (name(text), spec(needs))).collect(),
    }
}

fn alive(phase: PhaseName) -> SeenKeeper {
    SeenKeeper::Alive { phase, ready: phase == PhaseName::Up, current: true, retiring: false }
}

const fn keeper(phase: PhaseName, ready: bool, current: bool, retiring: bool) -> SeenKeeper {
    SeenKeeper::Alive { phase, ready, current, retiring }
}

const UP: SeenKeeper = keeper(PhaseName::Up, true, true, false);
const NOT_READY: SeenKeeper = keeper(PhaseName::Up, false, true, false);
const OLD: SeenKeeper = keeper(PhaseName::Up, true, false, false);
const RETIRING: SeenKeeper = keeper(PhaseName::Stopping, false, true, true);
const RETIRING_OLD: SeenKeeper = keeper(PhaseName::Stopping, false, false, true);
const RETIRING_UP: SeenKeeper = keeper(PhaseName::Up, true, true, true);
const DEAD: SeenKeeper = SeenKeeper::Dead;

/// Instances, what each one needs and its keeper.
type There<'a> = &'a [(&'a str, &'a [&'a str], SeenKeeper)];

fn seen(instances: There<'_>) -> Seen {
    let one = |(text, needs, keeper): &(&str, &[&str], SeenKeeper)| {
        (name(text), SeenInstance { needs: services(needs), keeper: keeper.clone() })
    };
    instances.iter().map(one).collect()
}

/// Both tables in, and the steps out, each as `retire web.0`.
fn check(wanted: &[(&str, &[&str])], there: There<'_>, expected: &[&str]) {
    let steps = reconcile(&plan(wanted), &seen(there));
    let shown: Vec<String> = steps
        .iter()
        .map(|step| match step {
            Step::Retire { instance } => format!("retire {instance}"),
            Step::StartKeeper { instance } => format!("start {instance}"),
            Step::Update { instance } => format!("update {instance}"),
        })
        .collect();
    assert_eq!(shown, expected, "wanted {wanted:?}, there {there:?}");
}

#[test]
fn a_host_that_equals_its_plan_is_left_alone() {
    check(&[], &[], &[]);
    check(&[("web.0", &["db"]), ("db.0", &[])], &[("web.0", &["db"], UP), ("db.0", &[], UP)], &[]);
    for phase in [
        PhaseName::Down,
        PhaseName::Failed,
        PhaseName::Starting,
        PhaseName::Stopping,
        PhaseName::Waiting,
    ] {
        // A keeper and nobody else keeps its instance.
        check(&[("db.0", &[])], &[("db.0", &[], alive(phase))], &[]);
    }
}

#[test]
fn an_instance_is_started_when_all_that_it_needs_is_ready() {
    let shop: &[(&str, &[&str])] =
        &[("db.0", &[]), ("db.1", &[]), ("cache.0", &[]), ("web.0", &["cache", "db"])];
    check(shop, &[], &["start cache.0", "start db.0", "start db.1"]);
    let almost =
        |db_1: SeenKeeper| [("cache.0", &[][..], UP), ("db.0", &[], UP), ("db.1", &[], db_1)];
    check(shop, &almost(UP), &["start web.0"]);
    for phase in [
        PhaseName::Down,
        PhaseName::Failed,
        PhaseName::Starting,
        PhaseName::Stopping,
        PhaseName::Waiting,
    ] {
        check(shop, &almost(alive(phase)), &[]);
    }
    check(shop, &almost(NOT_READY), &[]);
    check(shop, &almost(RETIRING_UP), &[]);
    check(shop, &almost(OLD), &["update db.1"]);
    check(shop, &almost(DEAD), &["start db.1"]);
    check(shop, &[("cache.0", &[], UP), ("db.0", &[], UP)], &["start db.1"]);
}

#[test]
fn a_service_on_another_host_holds_nothing_up() {
    check(&[("web.0", &["elsewhere"])], &[], &["start web.0"]);
    check(&[("web.0", &["old"])], &[("old.0", &[], RETIRING)], &["start web.0"]);
}

#[test]
fn what_runs_is_not_stopped_because_a_need_went_down() {
    let shop: &[(&str, &[&str])] = &[("db.0", &[]), ("web.0", &["db"])];
    check(shop, &[("db.0", &[], alive(PhaseName::Waiting)), ("web.0", &["db"], UP)], &[]);
}

#[test]
fn a_dead_keeper_is_replaced_whatever_its_instance_needs_or_is_to_become() {
    check(
        &[("db.0", &[]), ("web.0", &["db"])],
        &[("db.0", &[], DEAD), ("old.0", &[], DEAD), ("web.0", &["db"], DEAD)],
        &["start db.0", "start old.0", "start web.0"],
    );
    // Even one that another needs: it is only retired later.
    check(&[], &[("db.0", &[], DEAD), ("web.0", &["db"], UP)], &["start db.0", "retire web.0"]);
}

#[test]
fn what_leaves_is_retired_after_everything_that_needs_it() {
    let chain = |db, orders, web| {
        [("db.0", &[][..], db), ("orders.0", &["db"], orders), ("web.0", &["orders"], web)]
    };
    check(&[], &chain(UP, UP, UP), &["retire web.0"]);
    check(&[], &chain(UP, UP, RETIRING), &[]);
    check(&[], &chain(UP, UP, DEAD), &["start web.0"]);
    check(&[], &chain(UP, UP, UP)[..2], &["retire orders.0"]);
    check(&[], &chain(UP, RETIRING, UP)[..2], &[]);
    check(&[], &chain(UP, UP, UP)[..1], &["retire db.0"]);
    check(&[], &chain(RETIRING, UP, UP)[..1], &[]);
}

#[test]
fn what_stays_does_not_hold_what_leaves() {
    // It was planned without it, or with fewer of it.
    check(&[("web.0", &[])], &[("db.0", &[], UP), ("web.0", &["db"], UP)], &["retire db.0"]);
    check(
        &[("db.0", &[]), ("web.0", &["db"])],
        &[("db.0", &[], UP), ("db.1", &[], UP), ("web.0", &["db"], UP)],
        &["retire db.1"],
    );
}

#[test]
fn instances_of_one_service_do_not_wait_for_each_other() {
    check(&[], &[("db.0", &["db"], UP), ("db.1", &["db"], UP)], &["retire db.0", "retire db.1"]);
}

/// Each plan was without a ring; what is left of two of them is one.
#[test]
fn leaving_instances_that_need_each_other_in_a_ring_are_all_retired() {
    let ring = |a, b| [("a.0", &["b"][..], a), ("b.0", &["a"], b)];
    check(&[], &ring(UP, UP), &["retire a.0", "retire b.0"]);
    check(&[], &ring(RETIRING, UP), &["retire b.0"]);
    check(&[], &ring(UP, DEAD), &["retire a.0", "start b.0"]);
    // While one of them stays there is none, and while something else can go first it does.
    check(&[("a.0", &["b"])], &ring(UP, UP), &["retire b.0"]);
    let [a, b] = ring(UP, UP);
    check(&[], &[a, b, ("web.0", &["a"], UP)], &["retire web.0"]);
}

#[test]
fn a_changed_spec_is_handed_to_a_keeper_that_stays() {
    check(&[("db.0", &[])], &[("db.0", &[], OLD)], &["update db.0"]);
    check(&[], &[("db.0", &[], OLD)], &["retire db.0"]);
    // It is on its way out and wanted again: when it is gone, it is started with the new spec.
    check(&[("db.0", &[])], &[("db.0", &[], RETIRING)], &[]);
    check(&[("db.0", &[])], &[("db.0", &[], RETIRING_OLD)], &[]);
    check(&[], &[("db.0", &[], RETIRING_OLD)], &[]);
    check(&[("db.0", &[])], &[], &["start db.0"]);
}

#[test]
fn a_need_that_is_unmet_is_named_in_the_order_of_the_spec() {
    let shop = plan(&[("db.0", &[]), ("cache.0", &[]), ("cache.1", &[])]);
    let all = spec(&["elsewhere", "db", "cache"]);
    let cases: [(There<'_>, Option<&str>); 5] = [
        (&[], Some("db")),
        (&[("cache.0", &[], UP), ("cache.1", &[], UP)], Some("db")),
        (&[("db.0", &[], UP)], Some("cache")),
        (&[("db.0", &[], UP), ("cache.0", &[], UP), ("cache.1", &[], DEAD)], Some("cache")),
        (&[("db.0", &[], UP), ("cache.0", &[], UP), ("cache.1", &[], UP)], None),
    ];
    for (there, expected) in cases {
        let seen = seen(there);
        let unmet = unmet_need(&shop, &seen, &all);
        assert_eq!(unmet.map(ServiceName::as_str), expected, "{there:?}");
    }
    assert_eq!(unmet_need(&shop, &Seen::new(), &spec(&[])), None);
}

#[test]
fn a_new_plan_adds_changes_keeps_and_removes() {
    let now = plan(&[("db.0", &[]), ("old.0", &[]), ("web.0", &[])]);
    let next = plan(&[("db.0", &[]), ("new.0", &[]), ("web.0", &["db"])]);
    let field = |from: usize, to: usize| FieldChange {
        field: "needs".into(),
        from: from.to_string(),
        to: to.to_string(),
    };
    let diff = |old: &Spec, new: &Spec| vec![field(old.needs.len(), new.needs.len())];
    let changed = |now: Option<&Plan>, next: &Plan| -> Vec<(String, Change)> {
        let all = changes(now, next, diff);
        all.into_iter().map(|(name, change)| (name.to_string(), change)).collect()
    };
    let named = |name: &str, change: Change| (name.to_string(), change);
    assert_eq!(
        changed(Some(&now), &next),
        [
            named("db.0", Change::Keep),
            named("new.0", Change::Add),
            named("old.0", Change::Remove),
            named("web.0", Change::Change(vec![field(0, 1)])),
        ]
    );
    let all_are = |change: &Change, changes: &[(String, Change)]| {
        changes.len() == 3 && changes.iter().all(|(_, it)| it == change)
    };
    assert!(all_are(&Change::Add, &changed(None, &next)));
    assert!(all_are(&Change::Keep, &changed(Some(&now), &now)));
    assert!(all_are(&Change::Remove, &changed(Some(&now), &plan(&[]))));
}
