//! What the service manager of Windows and the agent promise each other, shown on a service of the
//! test's own: under Wine's service manager, and with what that cannot show on Windows itself.
#![cfg(windows)]
#![expect(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

mod host_end;
#[path = "../same_agent/place.rs"]
#[expect(dead_code, reason = "another suite uses more of it")]
mod place;
mod service;

use std::fs;

use place::{eventually, is_alive};
use service::{Service, keeper_of};

#[test]
fn an_agent_that_was_installed_is_a_service_and_adopts_what_runs() {
    let mut service = Service::new("installed");
    service.place.write(&["sleep"]);
    service.place.done(&["up", "--detach"]);
    let (before, agent) = (service.place.instance(), service.place.agent());
    let said = service.install();
    assert!(said.contains("from the boot on"), "{said}");
    assert_eq!(service.state(), Some(service::RUNNING));
    let after = service.heard();
    assert_ne!(service.place.agent(), agent, "the agent of before has ended");
    assert_eq!((&after["pid"], &after["run"]), (&before["pid"], &before["run"]));
    let status = service.place.done(&["agent", "status"]);
    assert!(status.lines().any(|line| line.starts_with("at boot") && line.ends_with("yes")));
    assert!(service.is_event_source(), "the log of events knows it");
    // Where it is there already, nothing is changed.
    let agent = service.place.agent();
    service.install();
    assert_eq!(service.place.agent(), agent);
}

#[test]
fn a_stop_of_the_service_leaves_instances_up_and_a_start_adopts_them() {
    let mut service = Service::new("stopped");
    service.place.write(&["sleep"]);
    service.install();
    service.place.done(&["up", "--detach"]);
    let before = service.place.instance();
    service.control("stop");
    service.becomes(service::STOPPED);
    assert_eq!(service.exit_codes(), (0, 0), "it ended well");
    assert!(!service.place.stead(&["status"]).status.success(), "there is no agent");
    assert!(is_alive(&before["pid"]), "it lives on without an agent");
    service.control("start");
    service.becomes(service::RUNNING);
    // It is said to run once it answers, and not before.
    assert!(service.place.stead(&["status"]).status.success());
    let after = service.heard();
    assert_eq!((&after["pid"], &after["run"]), (&before["pid"], &before["run"]));
}

/// Were keepers and runs to end with the service, as children of its own do in a job that the
/// service ends, the next start would have nothing to adopt.
#[test]
fn control_an_instance_that_ends_with_the_service_is_begun_anew() {
    let mut service = Service::new("begun anew");
    service.place.write(&["sleep"]);
    service.install();
    service.place.done(&["up", "--detach"]);
    let (before, keeper) = (service.place.instance(), service.place.keeper());
    service.control("stop");
    service.becomes(service::STOPPED);
    service.place.kill(keeper);
    service.place.end(&before["pid"]);
    service.control("start");
    let after = eventually("it is up again", || {
        let now = service.place.instances().pop()?;
        (now["phase"] == "up" && now["run"] != before["run"]).then_some(now)
    });
    assert_ne!(after["pid"], before["pid"]);
}

#[test]
fn an_instance_that_is_killed_is_back_while_the_service_runs_on() {
    let mut service = Service::new("instance");
    service.place.write(&["sleep"]);
    service.install();
    service.place.done(&["up", "--detach"]);
    let (before, agent) = (service.place.instance(), service.place.agent());
    service.place.end(&before["pid"]);
    let after = eventually("it is back", || {
        let now = service.place.instances().pop()?;
        (now["phase"] == "up" && now["run"] == 2).then_some(now)
    });
    assert_ne!(after["pid"], before["pid"]);
    assert_eq!((service.state(), service.place.agent()), (Some(service::RUNNING), agent));
}

/// Who starts it again is another question: see below.
#[test]
fn a_start_after_the_agent_was_killed_adopts_what_lives_on() {
    let mut service = Service::new("killed");
    service.place.write(&["sleep"]);
    service.install();
    service.place.done(&["up", "--detach"]);
    let before = service.place.instance();
    service.place.kill(service.place.agent());
    assert!(is_alive(&before["pid"]), "it lives on without an agent");
    service.try_control("start");
    let after = service.heard();
    assert_eq!(service.state(), Some(service::RUNNING));
    assert_eq!((&after["pid"], &after["run"]), (&before["pid"], &before["run"]));
}

#[test]
#[ignore = "Wine accepts what is to be done after a failure, and does nothing"]
fn a_killed_agent_is_started_again_by_the_service_manager() {
    let mut service = Service::new("again");
    service.place.write(&["sleep"]);
    service.install();
    service.place.done(&["up", "--detach"]);
    let before = service.place.instance();
    for _ in 0..3 {
        let agent = service.place.agent();
        service.place.kill(agent);
        let after = service.heard();
        assert_ne!(service.place.agent(), agent);
        assert_eq!((&after["pid"], &after["run"]), (&before["pid"], &before["run"]));
    }
}

#[test]
fn an_agent_that_cannot_begin_is_told_with_its_exit_code_and_why() {
    let mut service = Service::new("held");
    service.place.write(&["sleep"]);
    service.install();
    service.control("stop");
    service.becomes(service::STOPPED);
    // Another agent has the root.
    service.place.start_agent();
    service.try_control("start");
    let refused = 6;
    eventually("it is told", || (service.exit_codes().1 == refused).then_some(()));
    let log = fs::read_to_string(service.place.root().join("agent.log")).unwrap();
    assert!(log.contains("there can be no agent: another agent"), "{log}");
}

#[test]
fn an_agent_that_was_uninstalled_is_gone_and_its_instances_live_on_until_down() {
    let mut service = Service::new("gone");
    service.place.write(&["sleep"]);
    service.install();
    service.place.done(&["up", "--detach"]);
    let before = service.place.instance();
    service.place.done(&["agent", "uninstall"]);
    assert_eq!(service.state(), None);
    assert!(!service.is_event_source(), "the log of events has forgotten it");
    assert!(is_alive(&before["pid"]), "it lives on without a service");
    let said = service.place.done(&["agent", "uninstall"]);
    assert!(said.contains("not installed"), "{said}");
    service.place.done(&["up", "--detach"]);
    assert_eq!(service.place.instance()["pid"], before["pid"]);
    service.place.done(&["down"]);
    assert!(!is_alive(&before["pid"]));
}

#[test]
fn an_upgrade_whose_agent_does_not_begin_is_taken_back_and_one_that_does_stays() {
    let mut service = Service::new("upgraded");
    service.place.write(&["sleep"]);
    service.install();
    service.place.done(&["up", "--detach"]);
    let before = service.place.instance();
    let kit = || fs::read_to_string(service.place.root().join("programs/current")).unwrap();
    let first = kit();
    let keeper = keeper_of(&service.place, "next");
    // Its agent cannot put its keeper where keepers are.
    let in_the_way = service.in_the_way_of(&keeper);
    fs::create_dir_all(&in_the_way).unwrap();
    let failed = service.upgrade(&keeper);
    let said = String::from_utf8_lossy(&failed.stderr);
    assert!(!failed.status.success() && said.contains("the one of before is back"), "{said}");
    assert_eq!(kit(), first);
    assert_eq!(service.state(), Some(service::RUNNING));
    assert_eq!(service.heard()["pid"], before["pid"]);

    fs::remove_dir(&in_the_way).unwrap();
    let done = service.upgrade(&keeper);
    let said = String::from_utf8_lossy(&done.stdout);
    assert!(done.status.success() && said.contains("upgraded"), "{said}{done:?}");
    assert_ne!(kit(), first);
    let after = service.heard();
    assert_eq!((&after["pid"], &after["run"]), (&before["pid"], &before["run"]));
    let left = service.place.root().join("programs/revert");
    assert!(!left.exists(), "nobody is to go back any more");
}
