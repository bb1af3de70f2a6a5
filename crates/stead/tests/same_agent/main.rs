//! What an agent and the commands that speak with it promise on every system, shown on real
//! processes: natively, and for Windows under Wine. Each protection is shown to be needed.
#![expect(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

mod place;

use std::fs;
use std::process::Command;

use place::{Place, eventually, probe, stead};

#[test]
fn the_instances_of_a_killed_agent_live_on_and_are_adopted() {
    let place = Place::new("adopted");
    place.write(&["lines", "20"]);
    place.done(&["up", "--detach"]);
    let (before, agent) = (place.instance(), place.agent());
    assert_eq!((&before["phase"], &before["run"]), (&"up".into(), &1.into()));
    let lines_n = place.output().lines().count();
    place.kill(agent);
    let failed = place.stead(&["status"]);
    assert!(!failed.status.success(), "there is no agent: {failed:?}");
    assert!(place::is_alive(&before["pid"]), "it lives on without an agent");

    let _next = place.start_agent();
    let after = eventually("it is adopted", || {
        let now = place.instances().pop()?;
        (now["phase"] == "up" && now["keeper"] != "silent").then_some(now)
    });
    assert_ne!(place.agent(), agent, "another agent answers");
    for field in ["pid", "run", "restarts"] {
        assert_eq!(after[field], before[field], "{field}");
    }
    // What was said meanwhile is there, and the next agent can do with it as the first could.
    eventually("it says more", || (place.output().lines().count() > lines_n).then_some(()));
    place.done(&["stop", "web"]);
    assert_eq!(place.instance()["phase"], "down");
    assert!(!place::is_alive(&before["pid"]), "it was stopped");
}

/// Were its keeper and its run to end with an agent, as where one has services for children of its
/// own, the next agent would have nothing to adopt.
#[test]
fn control_an_instance_that_ends_with_its_agent_is_begun_anew() {
    let place = Place::new("begun-anew");
    place.write(&["sleep"]);
    place.done(&["up", "--detach"]);
    let before = place.instance();
    let keeper = place.keeper();
    place.kill(place.agent());
    place.kill(keeper);
    place.end(&before["pid"]);
    let _next = place.start_agent();
    let after = eventually("it is up again", || {
        let now = place.instances().pop()?;
        (now["phase"] == "up" && now["run"] != before["run"]).then_some(now)
    });
    assert_ne!(after["pid"], before["pid"]);
}

#[test]
fn a_keeper_that_is_killed_is_followed_by_another_and_its_run_goes_on() {
    let place = Place::new("keeper");
    place.write(&["sleep"]);
    place.done(&["up", "--detach"]);
    let (before, keeper) = (place.instance(), place.keeper());
    place.kill(keeper);
    eventually("another keeper", || (place.keepers().pop()? != keeper).then_some(()));
    let after = eventually("it is heard", || {
        let now = place.instances().pop()?;
        (now["phase"] == "up" && now["keeper"] != "lost").then_some(now)
    });
    assert_eq!((&after["pid"], &after["run"]), (&before["pid"], &before["run"]));
    place.done(&["restart", "web"]);
    let again = place.instance();
    assert_ne!(again["pid"], before["pid"]);
    assert_eq!(again["run"], 2);
}

#[test]
fn one_root_has_one_agent_and_takes_orders_by_its_socket_alone() {
    let place = Place::new("one");
    place.write(&["sleep"]);
    place.done(&["up", "--detach"]);
    let agent = place.agent();
    let mut other = Command::new(stead());
    let other = place.surround(other.args(["agent", "run"])).output().unwrap();
    let said = String::from_utf8_lossy(&other.stderr);
    assert!(!other.status.success() && said.contains("another agent"), "{said}");
    assert_eq!(place.agent(), agent);
    place.done(&["stop", "web"]);
    place.done(&["start", "web"]);
    assert_eq!(place.instance()["phase"], "up");
    // A command that cannot be started is refused before the run that is up is touched.
    let text = fs::read_to_string(place.fleet_file()).unwrap();
    fs::write(place.fleet_file(), text.replace(&probe(), "/nowhere/program")).unwrap();
    let before = place.instance();
    let failed = place.stead(&["up", "--detach"]);
    let said = String::from_utf8_lossy(&failed.stderr);
    assert!(!failed.status.success() && said.contains("nowhere"), "{said}");
    assert_eq!(place.instance()["pid"], before["pid"]);
}
