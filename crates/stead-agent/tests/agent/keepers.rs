//! A real agent with real keepers, and what may happen to either.

use std::fs;
use std::time::{Duration, Instant};

use serde_json::json;
use stead_agent::CrashPoint;
use stead_core::plan::Plan;
use stead_wire::api::EventLine;
use stead_wire::journal::Event;

use crate::support::{PATIENCE, Root, plan, shell, signal, sleeper, until};

fn is_alive(pid: u32) -> bool {
    stead_proc::start_ticks(pid).unwrap().is_some()
}

#[test]
fn a_plan_becomes_instances_that_run_and_going_down_ends_all() {
    let mut root = Root::with_keepers();
    root.spawn(true, None);
    until("the agent answers", || root.try_ask("GET", "/v1/status", "").is_ok().then_some(()));
    let mut web = sleeper();
    web.needs = vec!["db".parse().unwrap()];
    assert_eq!(root.put(&plan([("db.0", sleeper()), ("web.0", web)])).status, 200);
    let (db, web) = (root.until_up("db.0"), root.until_up("web.0"));
    assert_eq!((db.run, db.restarts, db.ready), (1, 0, Some(true)));
    assert!(web.memory_bytes.is_some() && web.cpu_percent.is_some() && web.keeper_pid.is_some());
    let answer = root.ask("POST", "/v1/down", "{}");
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert!(![db.pid, web.pid].into_iter().flatten().any(is_alive));
    assert!(root.wait_ended().success());
    assert_eq!(fs::read_dir(root.path().join("instances")).unwrap().count(), 0);
    assert!(root.path().join("data/db.0").exists(), "data outlives everything");
}

#[test]
fn what_needs_others_waits_for_them_and_says_so() {
    let mut root = Root::with_keepers();
    root.start();
    let mut web = sleeper();
    web.needs = vec!["db".parse().unwrap()];
    root.put(&plan([("db.0", shell("exit 3")), ("web.0", web)]));
    until("the reason is told", || {
        let web = root.instance("web.0")?;
        web.notes.iter().any(|note| note.starts_with("waits for `db`")).then_some(())
    });
    until("the reason is that of what is needed", || {
        let why = root.get("/v1/why/db.0").json();
        why["because"].as_str()?.contains("exit code 3").then_some(())
    });
}

#[test]
fn neither_the_end_of_the_agent_nor_of_a_keeper_is_noticed_by_a_service() {
    let mut root = Root::with_keepers();
    root.start();
    root.put(&plan([("a.0", sleeper()), ("b.0", sleeper())]));
    let (a, b) = (root.until_up("a.0"), root.until_up("b.0"));
    root.kill();
    // One keeper lives on without an agent, the other does not.
    signal(b.keeper_pid.unwrap(), "KILL");
    root.start();
    let same = |name: &str, before: &stead_wire::api::InstanceStatus| {
        until("it is up again", || root.instance(name).filter(|it| it.phase == "up"));
        let now = root.instance(name).unwrap();
        assert_eq!((now.pid, now.run), (before.pid, before.run), "{name}");
        now
    };
    assert_eq!(same("a.0", &a).keeper_pid, a.keeper_pid);
    assert_ne!(same("b.0", &b).keeper_pid, b.keeper_pid);
    // Neither is our agent's child; it must notice all the same.
    signal(a.keeper_pid.unwrap(), "KILL");
    until("its keeper is replaced", || {
        root.instance("a.0").filter(|it| it.keeper_pid.is_some_and(|pid| Some(pid) != a.keeper_pid))
    });
    same("a.0", &a);
    until("it is told as an event", || {
        let body = root.get("/v1/events?name=a").body;
        let lines = body.lines().map(|line| serde_json::from_str::<EventLine>(line).unwrap());
        let keeper_of = |line: EventLine| {
            if let Event::KeeperLost { keeper_of, .. } = line.event {
                Some(keeper_of)
            } else {
                None
            }
        };
        lines.filter_map(keeper_of).any(|keeper_of| keeper_of == "a.0").then_some(())
    });
    assert_eq!(root.get("/v1/why/a.0").status, 200);
}

#[test]
fn the_agent_of_a_newer_stead_renews_its_keepers_and_services_run_on() {
    let mut root = Root::with_keepers();
    root.start();
    root.put(&plan([("a.0", sleeper())]));
    let before = root.until_up("a.0");
    let program = || {
        let keeper_pid = before.keeper_pid.unwrap();
        fs::read_link(format!("/proc/{keeper_pid}/exe")).unwrap()
    };
    let upgrades = |root: &Root| {
        let events = root.get("/v1/events?name=a.0").lines();
        events.iter().filter(|event| event["event"] == "keeper-upgraded").count()
    };
    let who = |it: &stead_wire::api::InstanceStatus| (it.pid, it.run, it.keeper_pid);
    let old = program();
    // The same stead has nothing to renew.
    root.kill();
    root.start();
    assert_eq!(who(&root.until_up("a.0")), who(&before));
    assert_eq!((program(), upgrades(&root)), (old.clone(), 0));
    root.kill();
    root.renew_keeper();
    root.start();
    until("its keeper runs the new program", || (program() != old).then_some(()));
    until("it is told as an event", || (upgrades(&root) == 1).then_some(()));
    assert_eq!(who(&root.until_up("a.0")), who(&before));
    // It is as good a keeper as the old one was.
    signal(before.pid.unwrap(), "KILL");
    until("its service is started again", || {
        root.instance("a.0").filter(|it| it.run == 2 && it.phase == "up")
    });
}

#[test]
fn a_keeper_that_is_killed_again_and_again_is_replaced_within_the_bound() {
    let mut root = Root::with_keepers();
    root.start();
    root.put(&plan([("a.0", sleeper())]));
    let mut before = root.until_up("a.0");
    let pid = before.pid;
    for _ in 0..30 {
        let killed_at = Instant::now();
        signal(before.keeper_pid.unwrap(), "KILL");
        let next = until("its keeper is replaced", || {
            let now = root.instance("a.0")?;
            let is_next = now.keeper_pid.is_some() && now.keeper_pid != before.keeper_pid;
            (is_next && now.phase == "up").then_some(now)
        });
        // The bound, and as much for a busy machine.
        assert!(killed_at.elapsed() < 2 * stead_agent::KEEPER_REPLACED_WITHIN);
        assert_eq!(next.pid, pid);
        before = next;
    }
}

#[test]
fn a_keeper_that_is_stopped_holds_up_nobody_else() {
    let mut root = Root::with_keepers();
    root.start();
    root.put(&plan([("a.0", sleeper()), ("b.0", sleeper())]));
    let (a, _) = (root.until_up("a.0"), root.until_up("b.0"));
    signal(a.keeper_pid.unwrap(), "STOP");
    let note = format!("its keeper (pid {}) does not answer", a.keeper_pid.unwrap());
    let is_silent = |root: &Root, name: &str| {
        root.instance(name).unwrap().notes.iter().any(|said| said.contains(&note))
    };
    until("its silence is told", || is_silent(&root, "a.0").then_some(()));
    // More often than a keeper is asked without an answer.
    for _ in 0..8 {
        let asked_at = Instant::now();
        assert!(is_silent(&root, "a.0"));
        assert!(asked_at.elapsed() < Duration::from_secs(2));
    }
    assert!(!is_silent(&root, "b.0"));
    let stop_b = json!({ "names": ["b"], "act": "stop" }).to_string();
    assert_eq!(root.ask("POST", "/v1/act", &stop_b).json()["done"], json!(["b.0"]));
    root.kill();
    root.start();
    until("its silence is noted", || {
        let notes = root.instance("a.0")?.notes;
        notes.iter().any(|note| note.contains("does not answer")).then_some(())
    });
    signal(a.keeper_pid.unwrap(), "CONT");
    assert_eq!(root.until_up("a.0").pid, a.pid);
}

#[test]
fn a_changed_spec_is_run_by_and_an_unchanged_one_is_left_alone() {
    let mut root = Root::with_keepers();
    root.start();
    root.put(&plan([("a.0", sleeper()), ("b.0", sleeper()), ("c.0", sleeper())]));
    let [a, b, c] = ["a.0", "b.0", "c.0"].map(|name| root.until_up(name));
    root.put(&plan([("a.0", sleeper()), ("b.0", shell("exec sleep 2000"))]));
    until("b runs by its new spec", || {
        root.instance("b.0").filter(|it| it.run > b.run && it.phase == "up")
    });
    until("c has left", || root.instance("c.0").is_none().then_some(()));
    assert!(!is_alive(c.pid.unwrap()));
    assert!(!root.path().join("instances/c.0").exists());
    assert!(root.path().join("data/c.0").exists());
    assert_eq!(root.until_up("a.0").pid, a.pid);
}

#[test]
fn a_damaged_plan_stops_nothing_and_is_said_until_a_new_one_comes() {
    let mut root = Root::with_keepers();
    root.start();
    let wanted: Plan = plan([("a.0", sleeper())]);
    root.put(&wanted);
    let a = root.until_up("a.0");
    root.kill();
    let path = root.path().join("plan.json");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, &text[..text.len() / 2]).unwrap();
    root.start();
    let troubles = root.status().agent.troubles;
    assert!(troubles.iter().any(|trouble| trouble.contains("plan.json")), "{troubles:?}");
    signal(a.keeper_pid.unwrap(), "KILL");
    until("its keeper is replaced all the same", || {
        root.instance("a.0").filter(|it| it.keeper_pid.is_some_and(|p| Some(p) != a.keeper_pid))
    });
    assert_eq!(root.put(&wanted).status, 200);
    assert_eq!(root.until_up("a.0").pid, a.pid);
    assert!(!root.status().agent.troubles.iter().any(|trouble| trouble.contains("plan.json")));
}

#[test]
fn an_agent_that_dies_at_any_crash_point_leaves_what_the_next_one_can_take_up() {
    for point in CrashPoint::ALL {
        let mut root = Root::with_keepers();
        root.start();
        root.put(&plan([("a.0", sleeper())]));
        let a = root.until_up("a.0");
        root.kill();
        root.spawn(false, Some(point as u32));
        let both = plan([("a.0", sleeper()), ("b.0", sleeper())]);
        // It may die before it is asked, while it is, or not at all until something is to do.
        let deadline = Instant::now() + PATIENCE;
        while !root.has_ended() && Instant::now() < deadline {
            let Ok(state) = root.try_ask("GET", "/v1/plan", "") else { continue };
            let put = json!({ "replaces": state.json()["generation"], "plan": both });
            let _ = root.try_ask("PUT", "/v1/plan", &put.to_string());
        }
        assert!(!root.wait_ended().success(), "{point:?} was never reached");
        root.start();
        root.put(&both);
        assert_eq!(root.until_up("a.0").pid, a.pid, "{point:?}");
        let b = root.until_up("b.0");
        assert_eq!(b.run, 1, "{point:?}: b was started twice");
    }
}

#[test]
fn logs_and_events_are_read_through_the_agent() {
    let mut root = Root::with_keepers();
    root.start();
    let script = "echo one; echo two >&2; echo three; exec sleep 1000";
    root.put(&plan([("a.0", shell(script)), ("b.0", shell("echo other; exec sleep 1000"))]));
    root.until_up("a.0");
    let lines = |query: &str| -> Vec<String> {
        let lines = root.get(&format!("/v1/logs?{query}")).lines();
        lines.iter().map(|line| line["line"].as_str().unwrap().to_owned()).collect()
    };
    until("everything is stored", || (lines("name=a").len() == 3).then_some(()));
    assert_eq!(lines("name=a.0&stream=out"), ["one", "three"]);
    // Two streams have no order between them within a moment.
    let mut found = lines("name=a&grep=t[wh]");
    found.sort();
    assert_eq!(found, ["three", "two"]);
    until("all are read", || (lines("").len() == 4).then_some(()));
    let events = root.get("/v1/events?name=a.0").lines();
    let kinds: Vec<&str> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert!(kinds.contains(&"started") && kinds.contains(&"keeper-started"), "{kinds:?}");
    assert_eq!(root.get("/v1/events?name=a.0&limit=1").lines().len(), 1);
}

#[test]
fn an_instance_whose_user_is_not_there_is_refused_alone() {
    let mut root = Root::with_keepers();
    root.start();
    let mut stranger = sleeper();
    stranger.user = Some("no-such-user".into());
    root.put(&plan([("a.0", sleeper()), ("b.0", stranger)]));
    root.until_up("a.0");
    let b = until("it is refused", || root.instance("b.0").filter(|it| it.phase == "failed"));
    assert!(b.notes[0].contains("no user `no-such-user`"), "{:?}", b.notes);
}

#[test]
fn an_instance_that_leaves_processes_behind_can_be_started_again_and_again() {
    let mut root = Root::with_keepers();
    root.start();
    root.put(&plan([("a.0", shell("sleep 1000 & exec sleep 1000"))]));
    let mut before = root.until_up("a.0");
    for _ in 0..5 {
        for act in ["stop", "start"] {
            let body = json!({ "names": ["a"], "act": act }).to_string();
            assert_eq!(root.ask("POST", "/v1/act", &body).json()["done"], json!(["a.0"]));
            let phase = if act == "stop" { "down" } else { "up" };
            until(phase, || root.instance("a.0").filter(|it| it.phase == phase));
        }
        let now = root.until_up("a.0");
        assert_eq!((now.run, now.restarts), (before.run + 1, before.restarts));
        before = now;
    }
}

#[test]
fn acts_reach_the_instances_that_are_named() {
    let mut root = Root::with_keepers();
    root.start();
    root.put(&plan([("a.0", sleeper()), ("a.1", sleeper())]));
    let [first, second] = ["a.0", "a.1"].map(|name| root.until_up(name));
    let act = |act: &str, name: &str| {
        let body = json!({ "names": [name], "act": act, "signal": "TERM" }).to_string();
        root.ask("POST", "/v1/act", &body).json()
    };
    assert_eq!(act("stop", "a.0")["done"], json!(["a.0"]));
    until("it is down", || root.instance("a.0").filter(|it| it.phase == "down"));
    assert_eq!(act("start", "a")["done"], json!(["a.0", "a.1"]));
    assert!(root.until_up("a.0").run > first.run);
    assert_eq!(root.until_up("a.1").run, second.run, "it ran already");
    assert_eq!(act("restart", "a.1")["done"], json!(["a.1"]));
    until("it runs afresh", || {
        root.instance("a.1").filter(|it| it.run > second.run && it.phase == "up")
    });
}
