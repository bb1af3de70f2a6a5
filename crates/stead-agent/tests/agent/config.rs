//! Configurations: who may read them, and who is told that they have changed.

use std::cell::RefCell;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use stead_core::plan::{Check, Digest, Probe, Reload, Spec};
use stead_core::schedule::{Overlap, Schedule, Times};
use stead_core::signal::Signal;
use stead_release::lock::Putting;

use crate::support::{Root, plan, shell, until};

fn digest(c: &str) -> Digest {
    Digest::try_from(c.repeat(64)).unwrap()
}

thread_local! {
    /// What a test packs may be named by a plan only later: until it ends nothing is collected.
    static PACKING: RefCell<Vec<Putting>> = const { RefCell::new(Vec::new()) };
}

/// Packs a configuration of one file, as `stead up` does.
fn pack(root: &Root, c: &str, text: &str) {
    let folder = root.path().join("configs").join(digest(c).as_str());
    fs::create_dir_all(&folder).unwrap();
    fs::set_permissions(root.path().join("configs"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(folder.join("app"), text).unwrap();
    PACKING.with_borrow_mut(|packing| packing.push(Putting::begin(root.path()).unwrap()));
}

/// Tells what it reads at its start, and again whenever it gets HUP.
const READER: &str = "read=0; trap 'read=$((read + 1)); echo again: $(cat $CONFIG/app)' HUP; \
     echo first: $(cat $CONFIG/app); while :; do sleep 0.02; done";

fn reader(script: &str, c: &str) -> Spec {
    let mut spec = shell(script);
    spec.env.insert("CONFIG".into(), "{config}".parse().unwrap());
    spec.config = Some(digest(c));
    spec
}

fn reloading(c: &str) -> Spec {
    Spec { reload: Some(Reload::Signal(Signal::Hup)), ..reader(READER, c) }
}

fn root_with(configs: &[(&str, &str)], spec: Spec) -> Root {
    let mut root = Root::with_keepers();
    root.open_to_others();
    root.start();
    configs.iter().for_each(|(c, text)| pack(&root, c, text));
    put(&root, spec);
    root
}

fn put(root: &Root, spec: Spec) {
    let answer = root.put(&plan([("a.0", spec)]));
    assert_eq!(answer.status, 200, "{}", answer.body);
}

fn said(root: &Root) -> Vec<String> {
    let lines = root.get("/v1/logs?name=a.0").lines();
    lines.iter().map(|line| line["line"].as_str().unwrap().to_owned()).collect()
}

fn until_said(root: &Root, line: &str) {
    until(&format!("it says `{line}`"), || said(root).contains(&line.to_owned()).then_some(()));
}

fn copies(root: &Root) -> Vec<PathBuf> {
    let entries = fs::read_dir(root.path().join("config/a.0")).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

#[test]
fn a_service_that_can_be_told_reads_its_changed_configuration_in_the_same_run() {
    let root = root_with(&[("a", "one"), ("b", "two")], reloading("a"));
    let before = root.until_up("a.0");
    until_said(&root, "first: one");
    put(&root, reloading("b"));
    until_said(&root, "again: two");
    let after = root.instance("a.0").unwrap();
    assert_eq!((after.pid, after.run), (before.pid, before.run));
    let events = root.get("/v1/events?name=a.0").lines();
    assert!(events.iter().any(|event| event["event"] == "reloaded"), "{events:?}");
}

#[test]
fn a_service_that_cannot_be_told_gets_a_fresh_run_that_reads_it() {
    let root = root_with(&[("a", "one"), ("b", "two")], reader(READER, "a"));
    let before = root.until_up("a.0");
    until_said(&root, "first: one");
    put(&root, reader(READER, "b"));
    until_said(&root, "first: two");
    assert_eq!(root.until_up("a.0").run, before.run + 1);
    // What nothing goes by any more is gone with the next change.
    pack(&root, "c", "three");
    put(&root, reader(READER, "c"));
    until_said(&root, "first: three");
    let first = root.path().join("config/a.0").join(digest("a").as_str());
    assert!(!copies(&root).contains(&first), "{:?}", copies(&root));
}

#[test]
fn a_run_that_does_not_come_to_work_leaves_the_one_that_runs_its_configuration() {
    let ready = Probe {
        check: Check::Log { text: "first: one".into() },
        every: Duration::from_millis(100),
        timeout: Duration::from_secs(1),
        failures: 1,
        successes: 1,
    };
    for can_be_told in [false, true] {
        let spec = |c: &str, way: &str| {
            let mut spec = if can_be_told { reloading(c) } else { reader(READER, c) };
            spec.env.insert("WAY".into(), way.parse().unwrap());
            spec.ready = Some(ready.clone());
            spec.replace.overlap = true;
            spec.replace.within = Duration::from_millis(500);
            spec
        };
        let root = root_with(&[("a", "one"), ("b", "two")], spec("a", "old"));
        let before = root.until_up("a.0");
        until("it is ready", || root.instance("a.0").filter(|it| it.ready == Some(true)));
        put(&root, spec("b", "new"));
        until("the new one is given up", || root.instance("a.0")?.rejected);
        let kept = root.instance("a.0").unwrap();
        assert_eq!((kept.pid, kept.run), (before.pid, before.run));
        crate::support::signal(kept.pid.unwrap(), "HUP");
        until_said(&root, "again: one");
    }
}

#[test]
fn a_keeper_that_dies_on_the_way_is_followed_by_one_whose_run_reads_the_new_configuration() {
    // The link turned and its launch not kept; kept and not told; told and not in the journal.
    for point in [18, 19, 20] {
        let mut root = Root::with_keepers();
        root.open_to_others();
        root.keeper_args(&["--crash-at", &point.to_string()]);
        root.start();
        [("a", "one"), ("b", "two")].iter().for_each(|(c, text)| pack(&root, c, text));
        put(&root, reloading("a"));
        until_said(&root, "first: one");
        let before = root.until_up("a.0");
        let crashed = root.path().join(format!("instances/a.0/crashed-{point}"));
        // Its first link was turned as well.
        let _ = fs::remove_file(&crashed);
        put(&root, reloading("b"));
        until("its keeper has died there", || crashed.exists().then_some(()));
        until("it has read it", || {
            said(&root).iter().any(|line| line.ends_with(": two")).then_some(())
        });
        let link = root.path().join("config/a.0/current");
        assert_eq!(fs::read_link(link).unwrap().to_str(), Some(digest("b").as_str()), "{point}");
        let after = root.until_up("a.0");
        assert_ne!(after.keeper_pid, before.keeper_pid, "{point}");
        // A run is new only where nobody knows whether the old one was told.
        if point == 18 {
            assert_eq!((after.pid, after.run), (before.pid, before.run));
        }
    }
}

#[test]
fn a_hook_that_ends_badly_is_told_and_the_run_goes_on() {
    let hook = |script: &str| {
        let hook = ["/bin/sh", "-c", script].map(|text| text.parse().unwrap());
        Spec { reload: Some(Reload::Hook(hook.into())), ..reader(READER, "a") }
    };
    let root = root_with(&[("a", "one"), ("b", "two")], hook("exit 0"));
    let before = root.until_up("a.0");
    until_said(&root, "first: one");
    let failed = || {
        let events = root.get("/v1/events?name=a.0").lines();
        events.into_iter().find(|event| event["event"] == "reload-failed")
    };
    put(&root, Spec { config: Some(digest("b")), ..hook("exit 0") });
    until("it was told", || {
        let events = root.get("/v1/events?name=a.0").lines();
        events.iter().any(|event| event["event"] == "reloaded").then_some(())
    });
    assert!(failed().is_none(), "a good one is not");
    put(&root, hook("exit 3"));
    let event = until("it is told", failed);
    assert!(event["why"].as_str().unwrap().ends_with("exit code 3"), "{event}");
    let after = root.instance("a.0").unwrap();
    assert_eq!((after.pid, after.run), (before.pid, before.run));
}

#[test]
fn control_a_link_that_is_not_turned_leaves_the_run_its_old_configuration() {
    let mut root = Root::with_keepers();
    root.open_to_others();
    root.keeper_args(&["--fault", "no-turn"]);
    root.start();
    pack(&root, "a", "one");
    pack(&root, "b", "two");
    let link = root.path().join("config/a.0/current");
    fs::create_dir_all(link.parent().unwrap()).unwrap();
    fs::set_permissions(link.parent().unwrap(), fs::Permissions::from_mode(0o711)).unwrap();
    std::os::unix::fs::symlink(digest("a").as_str(), &link).unwrap();
    put(&root, reloading("a"));
    until_said(&root, "first: one");
    put(&root, reloading("b"));
    until_said(&root, "again: one");
}

#[test]
fn nobody_but_the_service_reads_its_configuration() {
    if !stead_proc::is_root() {
        return;
    }
    let mut root = Root::with_keepers();
    root.open_to_others();
    root.start();
    pack(&root, "a", "secret");
    let copy = root.path().join("config/a.0").join(digest("a").as_str()).join("app");
    let packed = root.path().join("configs").join(digest("a").as_str()).join("app");
    // Even where no sandbox holds it back.
    let script = format!(
        "cat {} {} || echo refused; echo done; exec sleep 1000",
        copy.display(),
        packed.display()
    );
    let other = |sandbox| Spec { sandbox, ..shell(&script) };
    root.put(&plan([
        ("a.0", reader("echo own: $(cat $CONFIG/app); exec sleep 1000", "a")),
        ("b.0", other(stead_core::sandbox::Sandbox::default())),
        ("c.0", other(stead_core::sandbox::Sandbox::Off)),
    ]));
    until_said(&root, "own: secret");
    for name in ["b.0", "c.0"] {
        let lines = until(&format!("{name} has tried"), || {
            let lines = root.get(&format!("/v1/logs?name={name}")).lines();
            lines.iter().any(|line| line["line"] == "done").then_some(lines)
        });
        assert!(lines.iter().any(|line| line["line"] == "refused"), "{lines:?}");
        assert!(lines.iter().all(|line| line["line"] != "secret"), "{lines:?}");
    }
}

#[test]
fn without_root_too_a_configuration_is_closed_to_others_and_leaves_with_its_instance() {
    let mut root = Root::with_keepers();
    root.start_without_root();
    pack(&root, "a", "one");
    // In place of a `stead` of that user.
    fs::set_permissions(root.path().join("configs"), fs::Permissions::from_mode(0o755)).unwrap();
    put(&root, reader(READER, "a"));
    until_said(&root, "first: one");
    for path in copies(&root).iter().flat_map(|copy| [copy.join("app"), copy.clone()]) {
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o277, 0, "{mode:o} {}", path.display());
    }
    let answer = root.put(&plan([]));
    assert_eq!(answer.status, 200, "{}", answer.body);
    until("it has left", || root.instance("a.0").is_none().then_some(()));
    for folder in ["config", "instances", "tmp"] {
        assert!(!root.path().join(folder).join("a.0").exists(), "{folder}");
    }
}

#[test]
fn a_run_finds_the_configuration_it_began_with_however_often_the_plan_changes() {
    // It is left to end: what changes is for its next run.
    let times = Times::Every { interval: Duration::from_secs(1) };
    let schedule = Schedule { times, overlap: Overlap::Skip, timeout: None, catch_up: false };
    let spec = |c: &str| Spec { schedule: Some(schedule.clone()), ..reader(READER, c) };
    let root = root_with(&[("a", "one"), ("b", "two"), ("c", "three")], spec("a"));
    until_said(&root, "first: one");
    let before = root.instance("a.0").unwrap();
    let launch = root.path().join("instances/a.0/spec.json");
    for c in ["b", "c"] {
        put(&root, spec(c));
        until("it is the plan of its next run", || {
            let launch = fs::read_to_string(&launch).ok()?;
            launch.contains(digest(c).as_str()).then_some(())
        });
    }
    crate::support::signal(before.pid.unwrap(), "HUP");
    until_said(&root, "again: one");
    // Nor does the next keeper take it away.
    crate::support::signal(before.keeper_pid.unwrap(), "KILL");
    until("another keeper has it", || {
        let keeper = root.instance("a.0")?.keeper_pid?;
        (Some(keeper) != before.keeper_pid).then_some(())
    });
    assert_eq!(root.instance("a.0").unwrap().pid, before.pid);
    assert!(copies(&root).iter().any(|path| path.ends_with(digest("a").as_str())));
}
