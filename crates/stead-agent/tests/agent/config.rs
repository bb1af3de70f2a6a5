//! Configurations: who may read them, and who is told that they have changed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use std::time::Duration;
use stead_core::plan::{Check, Digest, Probe, Reload, Spec};
use stead_core::signal::Signal;

use crate::support::{Root, plan, shell, until};

fn digest(c: &str) -> Digest {
    Digest::try_from(c.repeat(64)).unwrap()
}

/// Packs a configuration of one file, as `stead up` does.
fn pack(root: &Root, c: &str, text: &str) {
    let folder = root.path().join("configs").join(digest(c).as_str());
    fs::create_dir_all(&folder).unwrap();
    fs::set_permissions(root.path().join("configs"), fs::Permissions::from_mode(0o700)).unwrap();
    fs::write(folder.join("app"), text).unwrap();
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
    // The keeper dies in one of its places; whichever it is, the service ends up with what the
    // plan says, in this run or the next.
    let root = root_with(&[("a", "one"), ("b", "two")], reloading("a"));
    root.until_up("a.0");
    until_said(&root, "first: one");
    let keeper = root.instance("a.0").unwrap().keeper_pid.unwrap();
    put(&root, reloading("b"));
    crate::support::signal(keeper, "KILL");
    until("it has read it", || {
        let lines = said(&root);
        lines.iter().any(|line| line.ends_with(": two")).then_some(())
    });
    let link = root.path().join("config/a.0/current");
    assert_eq!(fs::read_link(link).unwrap().to_str(), Some(digest("b").as_str()));
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
