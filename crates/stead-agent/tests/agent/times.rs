//! Services that run now and then.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::time::Duration;

use serde_json::{Value, json};
use stead_core::plan::{Restart, Spec, When};
use stead_core::schedule::{Overlap, Schedule, Times};
use stead_wire::frame::{self, Framed};
use stead_wire::journal::{Record, Timed};

use crate::support::{Root, plan, shell, until};

const SECOND: Duration = Duration::from_secs(1);
const HOUR_MS: u64 = 3_600_000;

fn every(interval: Duration) -> Schedule {
    let times = Times::Every { interval };
    Schedule { times, overlap: Overlap::Skip, timeout: None, catch_up: false }
}

/// A script that runs by this schedule, and is not tried again.
fn scheduled(script: &str, schedule: Schedule) -> Spec {
    let restart = Restart { when: When::Never, ..Restart::default() };
    Spec { schedule: Some(schedule), restart, ..shell(script) }
}

fn root_with<const N: usize>(instances: [(&str, Spec); N]) -> Root {
    let mut root = Root::with_keepers();
    root.open_to_others();
    root.start();
    let answer = root.put(&plan(instances));
    assert_eq!(answer.status, 200, "{}", answer.body);
    root
}

/// The events of an instance of this kind.
fn events(root: &Root, name: &str, kind: &str) -> Vec<Value> {
    let all = root.get(&format!("/v1/events?name={name}")).lines();
    all.into_iter().filter(|event| event["event"] == kind && event["instance"] == name).collect()
}

fn until_run(root: &Root, name: &str, run: u64) {
    until(&format!("{name} has come to run {run}"), || {
        (root.instance(name)?.run >= run).then_some(())
    });
}

fn until_event(root: &Root, name: &str, kind: &str) -> Value {
    until(&format!("{name} has an event {kind}"), || events(root, name, kind).pop())
}

#[test]
fn a_scheduled_service_runs_at_its_times_and_tells_how_its_last_runs_ended() {
    let once = Restart { when: When::Never, ..Restart::default() };
    let root = root_with([
        ("often.0", scheduled("echo ran; exit 3", every(SECOND))),
        ("later.0", scheduled("echo ran", every(Duration::from_secs(3600)))),
        // Control: without times it has run once.
        ("once.0", Spec { restart: once, ..shell("echo ran") }),
    ]);
    until_run(&root, "often.0", 3);
    let [often, later, once] =
        ["often.0", "later.0", "once.0"].map(|name| root.instance(name).unwrap());
    assert!(often.next_run_at.is_some() && later.next_run_at.is_some());
    assert_eq!((later.run, later.phase.as_str()), (0, "down"), "its first time is yet to come");
    assert_eq!((once.run, once.next_run_at), (1, None));
    assert_eq!(often.restarts, 0, "a run at its time is no restart");
    let why = root.get("/v1/why/often.0").json();
    let runs: Vec<u64> =
        why["last_runs"].as_array().unwrap().iter().map(|it| it["run"].as_u64().unwrap()).collect();
    assert!(runs.starts_with(&[1, 2]), "{runs:?}");
    assert_eq!(why["last_runs"][0]["exit"]["reason"], "exit code 3");
    assert!(
        why["last_runs"][0]["exit"]["at"].is_u64()
            && why["last_runs"][0]["exit"]["life_ms"].is_u64()
    );
    let dues = events(&root, "often.0", "due");
    let distinct: BTreeSet<u64> = dues.iter().map(|due| due["due"].as_u64().unwrap()).collect();
    assert_eq!(distinct.len(), dues.len(), "no time has come twice: {dues:?}");
}

#[test]
fn a_time_that_comes_while_the_last_run_goes_on_is_skipped_queued_or_replaces_it() {
    let with = |overlap| Schedule { overlap, ..every(SECOND) };
    // Each goes on until it is let go.
    let script = "while ! [ -e $HOME/go ]; do sleep 0.05; done";
    let root = root_with([
        ("skip.0", scheduled(script, with(Overlap::Skip))),
        ("queue.0", scheduled(script, with(Overlap::Queue))),
        ("replace.0", scheduled(script, with(Overlap::Replace))),
    ]);
    for name in ["skip.0", "queue.0"] {
        let overlapped = until_event(&root, name, "overlapped");
        assert_eq!(overlapped["run"], 1, "{name}: {overlapped}");
    }
    assert_eq!(root.instance("skip.0").unwrap().run, 1);
    assert_eq!(root.instance("queue.0").unwrap().run, 1);
    let due = events(&root, "queue.0", "overlapped").pop().unwrap()["due"].clone();
    // What waits is not lost with those who know of it.
    let keeper = root.instance("queue.0").unwrap().keeper_pid.unwrap();
    crate::support::signal(keeper, "KILL");
    until("another keeper", || root.instance("queue.0")?.keeper_pid.filter(|it| *it != keeper));
    fs::write(root.path().join("data/queue.0/go"), "").unwrap();
    until("the queued run follows", || {
        let dues = events(&root, "queue.0", "due");
        dues.iter().any(|it| it["due"].as_u64() >= due.as_u64()).then_some(())
    });
    until_run(&root, "replace.0", 3);
    let exits = events(&root, "replace.0", "exited");
    assert_eq!(exits[0]["exit"]["signal"], "TERM", "{exits:?}");
}

#[test]
fn a_run_that_takes_too_long_is_stopped_and_has_failed_and_the_next_comes_at_its_time() {
    let timeout = Some(SECOND);
    let schedule = Schedule { timeout, ..every(2 * SECOND) };
    let root = root_with([
        ("slow.0", scheduled("trap 'exit 0' TERM; while :; do sleep 0.05; done", schedule)),
        // Control: the same without a timeout.
        ("patient.0", scheduled("trap 'exit 0' TERM; while :; do sleep 0.05; done", every(SECOND))),
    ]);
    let exited = until_event(&root, "slow.0", "exited");
    assert_eq!(exited["exit"]["reason"], "exit code 0, out of time", "{exited}");
    assert_eq!(until_event(&root, "slow.0", "overdue")["timeout_ms"], 1000);
    until_run(&root, "slow.0", 2);
    assert_eq!(root.instance("patient.0").unwrap().run, 1);
}

#[test]
fn what_was_stopped_runs_at_no_time_until_it_is_taken_up_again() {
    let both = ["a.0", "b.0"].map(|name| (name, scheduled("echo ran", every(SECOND))));
    let root = root_with(both);
    until_run(&root, "a.0", 1);
    let act = |what: &str| {
        let body = json!({ "names": ["a"], "act": what }).to_string();
        assert_eq!(root.ask("POST", "/v1/act", &body).status, 200);
    };
    act("stop");
    let stopped = until("it is stopped", || {
        root.instance("a.0").filter(|it| it.next_run_at.is_none() && it.phase == "down")
    });
    // Control: what was not stopped runs meanwhile.
    let meanwhile = root.instance("b.0").unwrap().run;
    until_run(&root, "b.0", meanwhile + 2);
    assert_eq!(root.instance("a.0").unwrap().run, stopped.run);
    act("resume");
    until_run(&root, "a.0", stopped.run + 1);
}

/// Makes the instance's journal one of an instance whose last time was so long ago.
fn as_if_away(root: &Root, name: &str, away_ms: u64) {
    let path = root.path().join("instances").join(name).join("events");
    let bytes = fs::read(&path).unwrap();
    let records = frame::decode_all::<Record>(&bytes);
    let last = records.into_iter().rev().find_map(|framed| match framed {
        Framed::Whole(record) => Some(record),
        Framed::Damaged { .. } | Framed::Torn { .. } => None,
    });
    let mut record = last.unwrap();
    let timed = record.memory.as_mut().unwrap().timed.as_mut().unwrap();
    *timed = Timed { done: timed.done - away_ms, queued: false };
    let mut file = fs::OpenOptions::new().append(true).open(&path).unwrap();
    file.write_all(&frame::encode(&record)).unwrap();
}

#[test]
fn times_that_passed_while_nobody_was_there_are_told_and_made_up_for_once_if_that_is_asked_for() {
    let hourly = every(Duration::from_millis(HOUR_MS));
    let mut root = root_with([
        ("strict.0", scheduled("echo ran", hourly.clone())),
        ("eager.0", scheduled("echo ran", Schedule { catch_up: true, ..hourly })),
    ]);
    let names = ["strict.0", "eager.0"];
    let keepers = names.map(|name| {
        until("it waits for its time", || root.instance(name)?.next_run_at);
        root.instance(name).unwrap().keeper_pid.unwrap()
    });
    root.kill();
    for (name, keeper) in names.into_iter().zip(keepers) {
        crate::support::signal(keeper, "KILL");
        until("its keeper is gone", || {
            (!std::path::Path::new(&format!("/proc/{keeper}/exe")).exists()).then_some(())
        });
        // Two minutes past its fifth time: too late for that one.
        as_if_away(&root, name, 5 * HOUR_MS + 120_000);
    }
    root.start();
    let missed = until_event(&root, "strict.0", "missed");
    assert_eq!(
        missed["until"].as_u64().unwrap() - missed["since"].as_u64().unwrap(),
        4 * HOUR_MS,
        "five times: {missed}"
    );
    until_event(&root, "eager.0", "exited");
    until("it waits for its time", || root.instance("eager.0")?.next_run_at);
    assert_eq!(root.instance("eager.0").unwrap().run, 1, "once for all of them");
    assert_eq!(root.instance("strict.0").unwrap().run, 0);
    assert!(root.instance("strict.0").unwrap().next_run_at.is_some());
}

#[test]
fn a_changed_spec_holds_for_the_next_run_and_other_times_begin_anew() {
    let script = "echo $WHICH > $HOME/which; while ! [ -e $HOME/go ]; do sleep 0.05; done";
    let which = |which: &str, schedule| {
        let mut spec = scheduled(script, schedule);
        spec.env.insert("WHICH".into(), which.parse().unwrap());
        spec
    };
    let root = root_with([("a.0", which("old", every(SECOND)))]);
    let running = root.until_up("a.0");
    root.put(&plan([("a.0", which("new", every(SECOND)))]));
    until("the keeper has it", || (!events(&root, "a.0", "spec-changed").is_empty()).then_some(()));
    assert_eq!(root.instance("a.0").unwrap().pid, running.pid, "the run that goes on is left");
    fs::write(root.path().join("data/a.0/go"), "").unwrap();
    let file = root.path().join("data/a.0/which");
    until("the next run goes by it", || {
        (fs::read_to_string(&file).unwrap_or_default().trim() == "new").then_some(())
    });
}

#[test]
fn a_service_that_gets_times_is_stopped_until_they_come_and_one_that_loses_them_is_started() {
    let later = every(Duration::from_secs(3600));
    let other_env = |mut spec: Spec| {
        spec.env.insert("OTHER".into(), "1".parse().unwrap());
        spec
    };
    let timed = || scheduled("exec sleep 1000", later.clone());
    let lasting = || Spec { schedule: None, ..timed() };
    for change in [|spec| spec, other_env] {
        let root = root_with([("a.0", lasting())]);
        root.until_up("a.0");
        root.put(&plan([("a.0", change(timed()))]));
        until("it waits for its time", || {
            root.instance("a.0").filter(|it| it.phase == "down" && it.next_run_at.is_some())
        });
        root.put(&plan([("a.0", lasting())]));
        let up = root.until_up("a.0");
        assert_eq!((up.run, up.next_run_at), (2, None), "one run, begun once");
    }
}
