//! Whom instances run as, under real agents, and what is theirs then.

use std::fs;
use std::os::unix::fs::MetadataExt;

use stead_core::plan::Spec;

use crate::support::{Root, plan, shell, sleeper, until};

/// Writes its data, and says so once that worked.
fn writer() -> Spec {
    shell("mkdir -p sub && echo x >> sub/file && echo written; exec sleep 1000")
}

fn as_user(user: &str) -> Spec {
    Spec { user: Some(user.into()), ..writer() }
}

#[test]
fn a_changed_user_gets_the_data_with_all_that_is_in_it() {
    if !stead_proc::is_root() {
        return;
    }
    let mut root = Root::with_keepers();
    root.open_to_others();
    root.start();
    let written = |times: usize| {
        until("it has written its data", || {
            (root.get("/v1/logs?name=a").lines().len() == times).then_some(())
        });
    };
    let file = root.path().join("data/a.0/sub/file");
    root.put(&plan([("a.0", writer())]));
    written(1);
    let first = fs::metadata(&file).unwrap().uid();
    assert!(first >= stead_agent::ACCOUNT_FIRST);
    for (n, (user, uid)) in [("nobody", 65534), ("daemon", 1), ("root", 0)].into_iter().enumerate()
    {
        root.put(&plan([("a.0", as_user(user))]));
        written(n + 2);
        for path in [&file, file.parent().unwrap(), &root.path().join("data/a.0")] {
            assert_eq!(fs::metadata(path).unwrap().uid(), uid, "{}", path.display());
        }
        let notes = root.until_up("a.0").notes;
        assert!(notes.is_empty(), "{notes:?}");
    }
}

#[test]
fn data_that_cannot_be_handed_over_leaves_what_runs_as_it_is() {
    if !stead_proc::is_root() {
        return;
    }
    let mut root = Root::with_keepers();
    root.open_to_others();
    root.start();
    root.put(&plan([("a.0", sleeper())]));
    let before = root.until_up("a.0");
    let data = root.path().join("data/a.0");
    fs::rename(&data, root.path().join("away")).unwrap();
    fs::write(&data, "no folder").unwrap();
    root.put(&plan([("a.0", as_user("nobody"))]));
    until("it is told", || {
        let notes = root.instance("a.0")?.notes;
        notes.iter().any(|note| note.contains("keeps its old spec")).then_some(())
    });
    let now = root.until_up("a.0");
    assert_eq!((now.pid, now.run), (before.pid, before.run));
    fs::remove_file(&data).unwrap();
    fs::rename(root.path().join("away"), &data).unwrap();
    root.put(&plan([("a.0", as_user("nobody"))]));
    until("it runs as its new user", || root.instance("a.0").filter(|it| it.run > before.run));
    assert!(root.until_up("a.0").notes.is_empty());
}

#[test]
fn an_agent_that_is_not_root_refuses_what_only_root_can_do() {
    let mut root = Root::with_keepers();
    root.start_without_root();
    let group = Spec { group: Some("daemon".into()), ..sleeper() };
    root.put(&plan([("a.0", sleeper()), ("b.0", group), ("c.0", as_user("root"))]));
    root.until_up("a.0");
    for (name, why) in [("b.0", "`group = \"daemon\"`"), ("c.0", "`user = \"root\"`")] {
        let it = until("it is refused", || root.instance(name).filter(|it| it.phase == "failed"));
        let note = format!("{why} needs an agent that runs as root");
        assert!(it.notes[0].contains(&note), "{:?}", it.notes);
    }
    // What runs goes on as it was, and says so.
    root.put(&plan([("a.0", as_user("root"))]));
    until("it is told", || {
        let notes = root.instance("a.0").filter(|it| it.phase == "up")?.notes;
        notes.iter().any(|note| note.contains("keeps its old spec: `user")).then_some(())
    });
}

#[test]
fn an_agent_may_open_many_files_and_its_services_no_more_than_before() {
    let mut root = Root::with_keepers();
    let mut command = std::process::Command::new("/bin/sh");
    let agent = root.agent_command(false, None);
    // A shell sets the limit that the agent is started with.
    command.args(["-c", "ulimit -Sn 200; exec \"$@\"", "sh"]).arg(agent.get_program());
    command.args(agent.get_args()).stdout(std::process::Stdio::null());
    command.envs(agent.get_envs().filter_map(|(name, value)| Some((name, value?))));
    root.spawn_as(command);
    until("the agent answers", || root.try_ask("GET", "/v1/status", "").is_ok().then_some(()));
    let limits = fs::read_to_string(format!("/proc/{}/limits", root.agent_pid())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let [soft, hard] = [3, 4].map(|n| line.split_whitespace().nth(n).unwrap());
    assert_eq!(soft, hard);
    root.put(&plan([("a.0", shell("ulimit -Sn; exec sleep 1000"))]));
    let said = until("it is said", || root.get("/v1/logs?name=a").lines().into_iter().next());
    assert_eq!(said["line"], "200");
}
