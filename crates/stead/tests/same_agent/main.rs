//! What an agent and the commands that speak with it promise on every system, shown on real
//! processes: natively, and for Windows under Wine. Each protection is shown to be needed.
#![expect(clippy::unwrap_used, reason = "a test ends where it cannot go on")]

mod place;

use std::fs;

use place::{ACCOUNT, Place, eventually, probe};

#[test]
fn the_instances_of_a_killed_agent_live_on_and_are_adopted() {
    let mut place = Place::new("adopted");
    place.write(&["lines", "20"]);
    place.done(&["up", "--detach"]);
    let (before, agent) = (place.instance(), place.agent());
    assert_eq!((&before["phase"], &before["run"]), (&"up".into(), &1.into()));
    let lines_n = place.output().lines().count();
    place.kill(agent);
    let failed = place.stead(&["status"]);
    assert!(!failed.status.success(), "there is no agent: {failed:?}");
    assert!(place::is_alive(&before["pid"]), "it lives on without an agent");

    place.start_agent();
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
    let mut place = Place::new("begun-anew");
    place.write(&["sleep"]);
    place.done(&["up", "--detach"]);
    let before = place.instance();
    let keeper = place.keeper();
    place.kill(place.agent());
    place.kill(keeper);
    place.end(&before["pid"]);
    place.start_agent();
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
fn what_goes_down_leaves_its_data_and_no_folder_of_an_instance() {
    let place = Place::new("down");
    place.write(&["sleep"]);
    place.done(&["up", "--detach"]);
    let before = place.instance();
    fs::write(place.root().join("data/web.0/kept"), "x").unwrap();
    place.done(&["down"]);
    assert!(!place::is_alive(&before["pid"]));
    assert_eq!(fs::read_dir(place.root().join("instances")).unwrap().count(), 0);
    assert_eq!(fs::read_to_string(place.root().join("data/web.0/kept")).unwrap(), "x");
    // Its agent was there for it alone.
    assert!(!place.stead(&["status"]).status.success());
}

#[test]
fn one_root_has_one_agent_and_takes_orders_by_its_socket_alone() {
    let place = Place::new("one");
    place.write(&["sleep"]);
    place.done(&["up", "--detach"]);
    let agent = place.agent();
    let other = place.stead(&["agent", "run"]);
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
    let failed = place.stead(&["up", "--detach", "--wait", "3s"]);
    let said = String::from_utf8_lossy(&failed.stderr);
    assert!(!failed.status.success() && said.contains("nowhere"), "{said}");
    assert_eq!(place.instance()["pid"], before["pid"]);
}

/// On Linux the account is the service's, on Windows that of the agent, in whose home all of it is.
#[test]
fn an_account_of_any_name_is_as_good_as_any() {
    let place = Place::with_account("account");
    let told = place.root().join("data/web.0/user");
    place.write(&["user", told.to_str().unwrap()]);
    if cfg!(target_os = "linux") {
        let text = fs::read_to_string(place.fleet_file()).unwrap();
        fs::write(place.fleet_file(), format!("{text}user = {:?}\n", ACCOUNT.0)).unwrap();
    }
    place.done(&["up", "--detach"]);
    let user = eventually("it tells who it is", || {
        fs::read_to_string(&told).ok().filter(|name| !name.is_empty())
    });
    assert_eq!(user, ACCOUNT.0);
    place.done(&["stop", "web"]);
}
