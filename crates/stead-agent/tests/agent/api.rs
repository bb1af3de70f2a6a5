//! The API of a real agent that runs nothing.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Command;

use crate::support::{self, Root, plan, sleeper};
use serde_json::json;

/// Tells the test program to ask an agent: the socket, then method and path.
const BE_CLIENT: &str = "STEAD_TEST_CLIENT";

#[test]
fn be_a_client() {
    let Ok(told) = std::env::var(BE_CLIENT) else { return };
    let [socket, method, path] = told.split(' ').collect::<Vec<_>>()[..] else { panic!() };
    let status = support::ask(socket.as_ref(), method, path, "").map_or(0, |answer| answer.status);
    std::process::exit(i32::from(status / 10));
}

#[test]
fn an_agent_without_a_plan_says_so_and_runs_nothing() {
    let mut root = Root::without_keepers();
    root.start();
    let status = root.status();
    assert_eq!((status.host.as_str(), status.agent.generation), ("test", 0));
    assert_eq!(status.agent.pid, root.agent_pid());
    assert!(status.instances.is_empty());
    assert_eq!(root.get("/v1/plan").json(), json!({ "generation": 0, "plan": null }));
    support::until("its start is an event", || {
        let events = root.get("/v1/events").lines();
        (events.last()?["event"] == "agent-started").then_some(())
    });
}

#[test]
fn what_cannot_be_had_is_refused_with_the_reason_and_what_to_do() {
    let mut root = Root::without_keepers();
    root.start();
    let big = "x".repeat(9 << 20);
    let stale = json!({ "replaces": 7, "plan": plan([]) }).to_string();
    let empty_run = {
        let mut spec = sleeper();
        spec.run.clear();
        json!({ "replaces": 0, "plan": plan([("a.0", spec)]) }).to_string()
    };
    let keys = {
        let mut spec = sleeper();
        spec.event_source = "Shop".to_owned().try_into().ok();
        json!({ "replaces": 0, "plan": plan([("a.0", spec)]) }).to_string()
    };
    let signal = json!({ "names": ["a"], "act": "signal", "signal": "SEGV" }).to_string();
    let cases = [
        ("GET", "/nowhere", "", 404, "unknown"),
        ("POST", "/v1/status", "", 405, "method"),
        ("PUT", "/v1/plan", "{", 400, "EOF"),
        ("PUT", "/v1/plan", &big, 413, ""),
        ("PUT", "/v1/plan", &stale, 409, "generation 7, and the host has generation 0"),
        ("PUT", "/v1/plan", &empty_run, 422, "`a.0` has nothing to run"),
        ("PUT", "/v1/plan", &keys, 422, "`a.0` has keys of a registry"),
        ("POST", "/v1/act", "{\"names\":[],\"act\":\"stop\"}", 400, "0 services"),
        ("POST", "/v1/act", &signal, 400, "SEGV"),
        ("GET", "/v1/why/a.0", "", 404, "a.0"),
        ("GET", "/v1/logs?name=a", "", 404, "`a`"),
        ("GET", "/v1/logs?since=noon", "", 400, "noon"),
        ("GET", "/v1/logs?grep=(", "", 400, ""),
        ("GET", "/v1/logs?stream=in", "", 400, "in"),
        ("GET", "/v1/events?limit=x", "", 400, "limit"),
        ("GET", "/v1/events?color=red", "", 400, "color"),
    ];
    for (method, path, body, status, because) in cases {
        let answer = root.ask(method, path, body);
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.body);
        let refusal = answer.json();
        for part in ["what", "because", "try_this"] {
            assert!(refusal[part].is_string(), "{method} {path}: {refusal}");
        }
        assert!(refusal["because"].as_str().unwrap().contains(because), "{refusal}");
    }
    let acted = root.ask("POST", "/v1/act", "{\"names\":[\"a\"],\"act\":\"stop\"}").json();
    assert!(acted["refused"]["a"].as_str().unwrap().contains("no service or instance"));
}

#[test]
fn a_plan_is_kept_over_the_agents_end_and_a_stale_one_is_refused() {
    let mut root = Root::without_keepers();
    root.start();
    // Events are stored beside the work: a plan is answered for before its event is on disk.
    let until_planned = |root: &Root, times: usize| {
        support::until("the event is stored", || {
            let events = root.get("/v1/events").lines();
            let planned = events.iter().filter(|event| event["event"] == "planned").count();
            (planned == times).then_some(())
        });
    };
    assert_eq!(root.put(&plan([])).json()["generation"], 1);
    until_planned(&root, 1);
    root.kill();
    root.start();
    assert_eq!(root.put(&plan([])).json()["generation"], 2);
    until_planned(&root, 2);
    let stale = json!({ "replaces": 1, "plan": plan([]) });
    assert_eq!(root.ask("PUT", "/v1/plan", &stale.to_string()).status, 409);
}

#[test]
fn a_second_agent_of_a_root_is_refused_and_told_who_has_it() {
    let mut root = Root::without_keepers();
    root.start();
    let second = root.agent_command(false, None).output().unwrap();
    assert_eq!(second.status.code(), Some(6));
    let said = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(said.contains(&format!("(pid {})", root.agent_pid())), "{said}");
    assert_eq!(root.status().agent.pid, root.agent_pid());
}

#[test]
fn an_agent_that_is_asked_to_end_does_and_takes_its_socket_along() {
    for name in ["TERM", "INT"] {
        let mut root = Root::without_keepers();
        root.start();
        support::signal(root.agent_pid(), name);
        assert!(root.wait_ended().success());
        assert!(!root.path().join("agent.sock").exists());
    }
}

#[test]
fn a_client_that_says_nothing_does_not_keep_others_out() {
    let mut root = Root::without_keepers();
    root.start();
    let socket = root.path().join("agent.sock");
    let connect = || UnixStream::connect(&socket).unwrap();
    let silent: Vec<_> = (0..40).map(|_| connect()).collect();
    assert_eq!(root.get("/v1/status").status, 200);
    drop(silent);
}

#[test]
fn members_of_the_sockets_group_may_look_and_not_change_and_strangers_nothing() {
    if !stead_proc::is_root() {
        return;
    }
    const GROUP: u32 = 1_899_999_999;
    let mut root = Root::without_keepers();
    std::os::unix::fs::chown(root.path(), None, Some(GROUP)).unwrap();
    // New files of such a folder are of its group.
    stead_proc::set_mode(root.path(), 0o2711).unwrap();
    root.start();
    let socket = root.path().join("agent.sock");
    let ask_as = |uid: u32, gid: u32, method: &str| {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "api::be_a_client"]).uid(uid).gid(gid).current_dir("/");
        command.env(BE_CLIENT, format!("{} {method} /v1/plan", socket.display()));
        command.output().unwrap().status.code().unwrap()
    };
    assert_eq!(ask_as(65534, GROUP, "GET"), 20);
    assert_eq!(ask_as(65534, GROUP, "PUT"), 40);
    assert_eq!(root.ask("PUT", "/v1/plan", "").status, 400, "the owner is let in");
    // The kernel keeps a stranger from connecting at all; were the socket open, the agent would.
    assert_eq!(ask_as(65534, 65534, "GET"), 0);
    stead_proc::set_mode(&socket, 0o666).unwrap();
    assert_eq!(ask_as(65534, 65534, "GET"), 40);
}

#[test]
fn who_asks_an_agent_that_is_just_ending_gets_the_state_it_ends_with() {
    let mut root = Root::without_keepers();
    root.spawn(true, None);
    support::until("the agent answers", || root.try_ask("GET", "/v1/status", "").ok());
    root.put(&plan([]));
    // One has begun to ask before everything is down, and ends that after.
    let mut slow = UnixStream::connect(root.path().join("agent.sock")).unwrap();
    slow.set_read_timeout(Some(support::PATIENCE)).unwrap();
    slow.write_all(b"POST /v1/down HTTP/1.0\r\ncontent-length: 0\r\n").unwrap();
    // Once another one that came later has its answer, the agent has read so far.
    assert_eq!(root.get("/v1/plan").status, 200);
    assert_eq!(root.ask("POST", "/v1/down", "").status, 200);
    slow.write_all(b"\r\n").unwrap();
    let mut answer = String::new();
    slow.read_to_string(&mut answer).unwrap();
    assert!(answer.contains(" 200 OK") && answer.contains("\"generation\":1"), "{answer}");
    assert!(root.wait_ended().success());
}
