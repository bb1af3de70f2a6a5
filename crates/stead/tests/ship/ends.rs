//! How deploys end: everywhere, nowhere, interrupted, left, taken over.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::fleet::{Fleet, GOOD, QUICK, end, until};

#[test]
fn five_hosts_get_a_release_all_of_them_or_none() {
    let Some(mut fleet) = Fleet::get("five_hosts", 5) else { return };
    fleet.release("v1", GOOD);
    assert!(fleet.deploy(0, &[]).contains("stead was brought to h0, h1, h2, h3, h4"));
    fleet.all_serve("v1");
    fleet.release("v2", GOOD);
    let said = fleet.deploy(0, &[]);
    assert!(!said.contains("stead was brought"), "{said}");
    fleet.all_serve("v2");
    // What does not work is brought back everywhere, and the old serves when the command ends.
    let bad =
        [("v3", ", \"never-ready\"", "not ready"), ("v4", ", \"crash-after=0\"", "ended 2 times")];
    for (version, options, why) in bad {
        fleet.release(version, options);
        let said = fleet.deploy(5, &["--ready-within", "3s"]);
        assert!(said.contains(why) && said.contains("it is as it was"), "{said}");
        assert_eq!(fleet.served(), vec![Some("v2".to_owned()); 5], "{said}");
    }
    // One host that is not there, and nothing is changed on any.
    fleet.hosts.kill(4).unwrap();
    fleet.release("v5", GOOD);
    assert!(fleet.deploy(4, &[]).contains("`h4`"));
    assert_eq!(fleet.served()[..4], vec![Some("v2".to_owned()); 4]);
    // Back to what ran before, by what the hosts remember; the one that was away is up again.
    fleet.hosts.boot(4).unwrap();
    assert!(fleet.ends(0, &[&["rollback", "web"], &QUICK[..]].concat()).contains("deployed"));
    fleet.all_serve("v1");
    let history: Value = serde_json::from_str(&fleet.ends(0, &["history", "--json"])).unwrap();
    for n in 0..5 {
        let told = &history[format!("h{n}")];
        assert_eq!(told["is_unbroken"], true);
        let last = told["entries"].as_array().unwrap().last().unwrap();
        assert_eq!(last["what"], "rollback of web");
        assert!(last["who"].as_str().unwrap().starts_with("tester@"));
    }
}

#[test]
fn a_host_that_cannot_be_reached_may_be_left_out_and_is_named_until_it_has_the_same() {
    let Some(mut fleet) = Fleet::get("left_out", 2) else { return };
    fleet.release("v1", GOOD);
    fleet.deploy(0, &[]);
    fleet.hosts.kill(1).unwrap();
    fleet.release("v2", GOOD);
    let said = fleet.deploy(7, &["--max-unreachable", "1"]);
    assert!(said.contains("`h0` has the new for good") && said.contains("left out"), "{said}");
    assert_eq!(fleet.serves(0).as_deref(), Some("v2"));
    fleet.hosts.boot(1).unwrap();
    // No rollout is under way, and the fleet is not whole: that is said, too.
    let said = fleet.ends(7, &["deploy", "--resume"]);
    assert!(said.contains("different rollouts"), "{said}");
    fleet.deploy(0, &[]);
    fleet.all_serve("v2");
    assert!(fleet.ends(0, &["deploy", "--resume"]).contains("nothing to go on with"));
}

#[test]
fn an_interrupt_brings_back_every_host_that_was_switched() {
    let Some(fleet) = Fleet::get("an_interrupt", 3) else { return };
    fleet.release("v1", GOOD);
    fleet.deploy(0, &[]);
    fleet.release("v2", GOOD);
    let mut deploy = fleet.command(&["deploy", "--bake", "60s", "--canary", "2"]);
    let deploy = deploy.stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    until("two hosts are switched", || {
        let switched = fleet.served().into_iter().filter(|it| it.as_deref() == Some("v2"));
        (switched.count() == 2).then_some(())
    });
    let output = end(deploy, "-INT");
    assert_eq!(output.status.code(), Some(130), "{output:?}");
    assert_eq!(fleet.served(), vec![Some("v1".to_owned()); 3]);
}

#[test]
fn a_second_operator_is_refused_and_one_that_is_stopped_for_long_does_nothing_when_it_wakes() {
    let Some(fleet) = Fleet::get("two_operators", 2) else { return };
    fleet.release("v1", GOOD);
    fleet.deploy(0, &[]);
    fleet.release("v2", GOOD);
    let mut first = fleet.command(&["deploy", "--bake", "300s"]);
    let first = first.stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    until("one host is switched", || {
        let v2 = Some("v2".to_owned());
        fleet.served().contains(&v2).then_some(())
    });
    let said = fleet.deploy(6, &[]);
    assert!(said.contains("a rollout of tester@"), "{said}");
    // The laptop sleeps, and another one ends what it began.
    let pid = first.id().to_string();
    assert!(Command::new("kill").args(["-STOP", &pid]).status().unwrap().success());
    let said = fleet.ends(0, &[&["deploy", "--resume", "--take-over"], &QUICK[..]].concat());
    assert!(said.contains("taking over the deploy of 2 hosts"), "{said}");
    fleet.all_serve("v2");
    fleet.release("v3", GOOD);
    fleet.deploy(0, &[]);
    let output = end(first, "-CONT");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("another operator has taken over"), "{said}");
    assert_eq!(output.status.code(), Some(7), "{said}");
    assert_eq!(fleet.served(), vec![Some("v3".to_owned()); 2]);
}

/// Where each host may be after an operator died: it serves one of the two.
fn is_serving(served: &[Option<String>]) -> bool {
    served.iter().all(|it| matches!(it.as_deref(), Some("v1" | "v2")))
}

#[test]
fn an_operator_that_is_killed_around_any_change_leaves_all_hosts_serving_and_a_way_to_end_it() {
    let Some(fleet) = Fleet::get("killed", 3) else { return };
    fleet.release("v1", GOOD);
    fleet.deploy(0, &[]);
    fleet.release("v2", GOOD);
    // A release that was shipped already is not shipped again, so every round has its own.
    let said = fleet.deploy(0, &["--crash-at", "100000"]);
    let places_n: u64 = said.rsplit("places to die at: ").next().unwrap().trim().parse().unwrap();
    eprintln!("{places_n} places, before and after each of {} changing requests", places_n / 2);
    fleet.release("v1", GOOD);
    fleet.deploy(0, &[]);
    let [mut on, mut back, mut none] = [0; 3];
    for at in 1..=places_n {
        fleet.release("v2", GOOD);
        // Other content each time, of the same version.
        fs::write(fleet.folder.join("version"), format!("v2 of round {at}")).unwrap();
        let place = at.to_string();
        let output = fleet.stead(&[&["deploy", "--crash-at", &place], &QUICK[..]].concat());
        assert_eq!(output.status.code(), None, "it died at {at}: {output:?}");
        until("all hosts serve", || is_serving(&fleet.served()).then_some(()));
        let resumed = fleet.stead(&[&["deploy", "--resume", "--take-over"], &QUICK[..]].concat());
        let said = String::from_utf8_lossy(&[resumed.stdout, resumed.stderr].concat()).into_owned();
        let served = fleet.served();
        match resumed.status.code() {
            Some(0) if said.contains("nothing to go on with") => none += 1,
            Some(0) => {
                on += 1;
                assert_eq!(served, vec![Some("v2".to_owned()); 3], "at {at}: {said}");
            }
            Some(5) => {
                back += 1;
                assert_eq!(served, vec![Some("v1".to_owned()); 3], "at {at}: {said}");
            }
            other => panic!("at {at}: {other:?}: {said}"),
        }
        fleet.release("v1", GOOD);
        fleet.deploy(0, &[]);
        fleet.all_serve("v1");
    }
    eprintln!("{on} ended whole-new, {back} whole-old, {none} had nothing to end");
    assert!(on > 0 && back > 0 && none > 0);
}

#[test]
fn a_host_whose_operator_died_takes_the_switch_back_by_itself() {
    let Some(fleet) = Fleet::get("left", 2) else { return };
    fleet.release("v1", GOOD);
    fleet.deploy(0, &[]);
    fleet.release("v2", GOOD);
    let begin = || {
        let args = ["deploy", "--bake", "300s", "--commit-within", "10s"];
        let mut deploy = fleet.command(&args);
        let deploy = deploy.stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
        until("it is switched", || (fleet.serves(0).as_deref() == Some("v2")).then_some(()));
        deploy
    };
    // Control: while its operator is there, it stays switched for longer than that.
    let deploy = begin();
    stays(&fleet, Some("v2"));
    drop(end(deploy, "-KILL"));
    fleet.all_serve("v1");
    // The other host still waits for that operator.
    let said = fleet.ends(5, &[&["deploy", "--resume", "--take-over"], &QUICK[..]].concat());
    assert!(said.contains("its operator was gone before"), "{said}");
    // An agent that dies as well, and is begun again, still does.
    let deploy = begin();
    drop(end(deploy, "-KILL"));
    let status: Value = serde_json::from_slice(&fleet.on(0, &["status", "--json"]).stdout).unwrap();
    let agent = status["agent"]["pid"].to_string();
    assert!(Command::new("kill").args(["-9", &agent]).status().unwrap().success());
    assert_eq!(fleet.serves(0).as_deref(), Some("v2"), "nobody is there to take it back");
    let mut agent = fleet.hosts.command(0, &fleet.kit(0));
    agent.arg("--root").arg(fleet.root(0)).args(["agent", "run"]);
    let _agent = Agent(agent.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    fleet.all_serve("v1");
}

/// Watches the first host for longer than a switch may stay uncommitted: it serves this.
#[track_caller]
fn stays(fleet: &Fleet, version: Option<&str>) {
    let since = Instant::now();
    while since.elapsed() < Duration::from_secs(14) {
        assert_eq!(fleet.serves(0).as_deref(), version);
        thread::sleep(Duration::from_millis(200)); // bounded poll
    }
}

#[test]
fn what_was_taken_down_stays_down_whatever_a_rollout_before_had_left() {
    let Some(fleet) = Fleet::get("down", 2) else { return };
    fleet.release("v1", GOOD);
    fleet.deploy(0, &[]);
    fleet.release("v2", GOOD);
    let mut deploy = fleet.command(&["deploy", "--bake", "300s", "--commit-within", "10s"]);
    let deploy = deploy.stderr(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    until("it is switched", || (fleet.serves(0).as_deref() == Some("v2")).then_some(()));
    drop(end(deploy, "-KILL"));
    assert!(fleet.on(0, &["down"]).status.success());
    stays(&fleet, None);
    // The other host, which only waits, is told that nothing will come.
    let said = fleet.ends(5, &[&["deploy", "--resume", "--take-over"], &QUICK[..]].concat());
    assert!(said.contains("its operator was gone before"), "{said}");
    assert_eq!(fleet.served(), [None, Some("v1".to_owned())]);
    fleet.deploy(0, &[]);
    fleet.all_serve("v2");
}

/// An agent that was begun by hand, and does not outlive the test.
struct Agent(Child);

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
